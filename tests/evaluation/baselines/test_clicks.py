"""Simulated clicks: where they fall, and the conversation with a model that does exactly as it is told."""

import numpy as np
import pytest

from atlassegfm.atlas import Atlas
from atlassegfm.errors import InputError, ModelError
from atlassegfm.evaluation.baselines import PROCEDURES, Job, clicks, prompted, true_prompt
from atlassegfm.evaluation.baselines.clicks import Click, ball, next_click
from atlassegfm.evaluation.methods import Method
from atlassegfm.models.base import SegmentationModel
from atlassegfm.models.info import ModelInfo
from atlassegfm.volume import Grid, Volume

UNIT = np.ones(3)


def box(*bounds, shape=(20, 20, 20)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*b) for b in bounds)] = True
    return mask


# ---------------------------------------------------------------------------------------------- where clicks fall


def test_first_click_is_the_centre_of_the_label():
    assert next_click(box((2, 9), (4, 9), (5, 10)), box((0, 0), (0, 0), (0, 0)), UNIT) == Click((5, 6, 7), True)


def test_negative_click_where_more_was_found_wrongly_than_missed():
    truth = box((2, 7), (2, 7), (2, 7))
    found = truth | box((10, 19), (10, 19), (10, 19))
    found[2, 2, 2] = False
    assert next_click(truth, found, UNIT) == Click((14, 14, 14), False)


def test_the_largest_piece_counts_not_the_sum_of_pieces():
    truth = box((0, 5), (0, 5), (0, 5))  # one missed piece of 125
    found = np.zeros_like(truth)
    for start in (8, 12, 16):  # three wrong pieces of 64
        found |= box((start, start + 3), (8, 12), (8, 12)) | box((start, start + 3), (14, 18), (14, 18))
    assert next_click(truth, found, UNIT) == Click((2, 2, 2), True)


def test_a_click_lies_inside_a_hollow_error():
    shell = box((2, 13), (2, 13), (2, 13)) & ~box((5, 10), (5, 10), (5, 10))
    click = next_click(shell, np.zeros_like(shell), UNIT)
    assert shell[click.voxel]


def test_spacing_decides_what_is_deep():
    # A plate of 9x9x5 voxels joined with a bar of 4x4x12: voxels flat along k make the plate thin in mm.
    error = box((2, 11), (2, 11), (0, 5)) | box((2, 6), (2, 6), (0, 12))
    assert next_click(error, np.zeros_like(error), UNIT).voxel == (5, 5, 2)
    assert next_click(error, np.zeros_like(error), np.array([1.0, 1.0, 0.1])).voxel[2] in (5, 6)


def test_no_click_when_nothing_is_wrong():
    truth = box((2, 5), (2, 5), (2, 5))
    assert next_click(truth, truth, UNIT) is None


def test_ball_is_round_in_mm():
    grid = Grid((21, 21, 11), np.diag([1.0, 1.0, 2.0, 1.0]))
    found = np.argwhere(ball((10, 10, 5), grid))
    assert found.min(axis=0).tolist() == [5, 5, 3]
    assert found.max(axis=0).tolist() == [15, 15, 7]


# ---------------------------------------------------------------------------------------------- conversations


class Parrot(SegmentationModel):
    """Answers with the mask it is given; for a click with a 5-voxel cube around it."""

    def __init__(self, **options):
        self.prompts, self.supports = [], []

    def customise(self, support):
        self.supports.append(support)
        return {}

    def set_image(self, image):
        self.image = image

    def segment(self, prompt):
        self.prompts.append(prompt)
        if prompt.kind == "mask":
            return prompt.mask
        out = np.zeros(self.image.grid.shape, np.float32)
        out[tuple(slice(p - 2, p + 3) for p in prompt.point)] = 1
        return out


@pytest.fixture
def scene():
    grid = Grid((40, 30, 20), np.diag([1.0, 1.0, 2.0, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[3:28, 5:20, 4:14] = 1
    labels[30:36, 10:20, 5:10] = 2
    image = Volume(labels.astype(np.float32), grid)
    return Atlas(image, Volume(labels, grid), {1: "a", 2: "b"}), image, Volume(labels, grid)


@pytest.fixture
def model(monkeypatch):
    made = Parrot()

    def use(*kinds):
        info = ModelInfo("parrot", "", "3D", kinds, "none")
        for module in (clicks, true_prompt):
            monkeypatch.setattr(module, "model_info", lambda name: info)
        monkeypatch.setattr(prompted, "create_model", lambda name, device, seed: made)
        return made

    return use


def run(procedure, scene, **options):
    atlas, image, truth = scene
    method = Method("x", model="parrot", procedure=procedure, options=tuple(options.items()))
    return PROCEDURES[procedure](Job(method, atlas, image, truth, pool=list, device="cpu")).maps["final"].data


def dice(found, truth, value):
    return 2 * ((found == value) & (truth == value)).sum() / ((found == value).sum() + (truth == value).sum())


def test_true_prompt_hands_the_truth_to_the_model(scene, model):
    parrot = model("mask")
    assert (run("true-prompt", scene) == scene[2].data).all()
    assert len(parrot.supports) == 1
    assert (parrot.supports[0].priors.data == scene[0].labels.data).all()


def test_one_click_tells_a_click_model_only_the_click(scene, model):
    parrot = model("click", "box")
    run("clicks", scene, clicks=1)
    assert [p.point for p in parrot.prompts] == [(15, 12, 8), (32, 14, 7)]
    assert [int(p.mask.sum()) for p in parrot.prompts] == [1, 1]
    assert not any(p.rivals.any() for p in parrot.prompts)


def test_more_clicks_help_a_model_that_takes_masks(scene, model):
    scores = []
    for number in (1, 3, 8):
        model("mask")
        found = run("clicks", scene, clicks=number)
        scores.append(dice(found, scene[2].data, 1))
    assert scores[0] < scores[1] < scores[2]


def test_a_model_that_understands_clicks_gets_them_all(scene, model):
    parrot = model("click")
    talks = []

    def segment_clicks(given, previous):
        talks.append((list(given), previous is None))
        answer = np.zeros(scene[1].grid.shape, np.float32)
        for voxel, positive in given:
            answer[ball(voxel, scene[1].grid)] = positive
        return answer

    parrot.segment_clicks = segment_clicks
    run("clicks", scene, clicks=3)
    assert [(len(given), first) for given, first in talks] == [(1, True), (2, False), (3, False)] * 2
    assert parrot.prompts == []


def test_the_atlas_is_marked_as_the_query_will_be(scene, model):
    parrot = model("mask")
    run("clicks", scene, clicks=1)
    priors = parrot.supports[0].priors.data
    assert set(np.unique(priors)) == {0, 1, 2}
    assert priors[15, 12, 8] == 1
    assert 0 < (priors == 1).sum() < (scene[0].labels.data == 1).sum() / 4


def test_labels_the_query_lacks_are_not_asked_for(scene, model):
    parrot = model("mask")
    atlas, image, truth = scene
    only = truth.with_data(np.where(truth.data == 1, 1, 0).astype(np.uint8))
    run("true-prompt", (atlas, image, only))
    assert [p.value for p in parrot.prompts] == [1]


def test_refusals(scene, model):
    model("box2d")
    with pytest.raises(ModelError, match="neither clicks nor masks"):
        run("clicks", scene, clicks=1)
    atlas, image, _ = scene
    job = Job(Method("x", procedure="true-prompt"), atlas, image, None, pool=list)
    with pytest.raises(InputError, match="needs the query's true labels"):
        PROCEDURES["true-prompt"](job)
