"""Support and its prompts; the default answer on the support."""

from dataclasses import replace

import numpy as np
import pytest

from atlassegfm.models.base import SegmentationModel, Support, prompt_from_labels
from atlassegfm.prompts import Prompt
from atlassegfm.volume import Grid, Volume


class Echo(SegmentationModel):
    """Answers with its prompt."""

    def __init__(self) -> None:
        self.seen: list[Volume] = []

    def set_image(self, image: Volume) -> None:
        self.seen.append(image)

    def segment(self, prompt: Prompt) -> np.ndarray:
        return prompt.mask


@pytest.fixture
def support() -> Support:
    grid = Grid((6, 6, 6), np.eye(4))
    truth = np.zeros(grid.shape, np.uint8)
    truth[1:4, 1:4, 1:4] = 2
    truth[4:, 4:, 4:] = 5
    priors = np.where(truth == 2, np.uint8(2), np.uint8(0))
    return Support(Volume(np.ones(grid.shape, np.float32), grid), Volume(truth, grid), Volume(priors, grid))


def test_values_come_from_the_truth(support):
    assert support.values == [2, 5]


def test_digests_are_those_of_image_and_truth_and_taken_once(support, monkeypatch):
    wanted = support.image.digest(), support.truth.digest()
    assert support.digests == wanted
    monkeypatch.setattr(Volume, "digest", lambda volume: "again")
    assert support.digests == wanted
    assert replace(support, image=support.truth).digests == ("again", "again")


def test_default_support_answer_is_the_answer_to_the_imperfect_prompt(support):
    model = Echo()
    np.testing.assert_array_equal(model.segment_support(support, 2), (support.priors.data == 2).astype(np.float32))
    assert model.seen == [support.image]


def test_a_lost_label_has_no_prompt_and_an_empty_answer(support):
    assert support.prompt(5) is None
    assert Echo().segment_support(support, 5).max() == 0


def test_prompt_carries_the_other_labels_as_rivals(support):
    prompt = prompt_from_labels(support.truth, 2, "mask")
    np.testing.assert_array_equal(prompt.rivals, (support.truth.data == 5).astype(np.float32))


def test_errors_are_those_told_of_the_priors(support):
    """Of a lost label half the usual error is told; priors that err more than is told are said to err less."""
    shifted = replace(support, priors=support.truth.with_data(np.roll(support.truth.data, 1, axis=0)))
    assert shifted.depths == {2: 1.5, 5: 1.5}
    assert shifted.limits == {2: 1.125, 5: 1.125}
    told = shifted.errors
    assert told == {2: 0.5, 5: 0.5}
    worse = replace(shifted, optimism=2.0).errors
    assert worse == {v: e / 2.0 for v, e in told.items()}
