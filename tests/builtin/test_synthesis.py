"""Training samples: the same for a seed, of the right shape, and with an answer that the prompt asks for."""

import numpy as np
import pytest

from atlassegfm.builtin.encoding import CHANNELS
from atlassegfm.builtin.synthesis import PROMPTS, Scene, batch, validation_samples

PATCH = 32


@pytest.fixture(scope="module")
def scene() -> Scene:
    return Scene((0, 0, 3), 48)


def test_batches_repeat_and_differ():
    first, again, other = (batch(0, n, 1, 2, PATCH) for n in (5, 5, 6))
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)
    assert first[0].shape == (2, len(CHANNELS), PATCH, PATCH, PATCH)
    assert first[1].shape == (2, 1, PATCH, PATCH, PATCH)
    assert not np.array_equal(first[0], other[0])
    assert set(np.unique(first[1])) <= {0.0, 1.0}


def test_scenes_hold_objects_of_a_usable_size(scene):
    counts = [np.isin(scene.layout.regions, o).sum() for o in scene.objects]
    assert len(counts) >= 3
    assert np.isfinite(scene.image).all()


def test_an_empty_prior_alone_asks_for_nothing(scene):
    for _ in range(4):
        sample = scene.sample(kind="empty", prompts=("mask",), patch=PATCH)
        assert not sample.truth.any()
        assert (sample.inputs[CHANNELS.index("prior")] == -1).all()


@pytest.mark.parametrize("prompts", [p for p in PROMPTS if "mask" not in p])
def test_without_a_mask_the_other_prompts_stand_alone(scene, prompts):
    sample = scene.sample(kind="displaced", prompts=prompts, patch=PATCH)
    assert (sample.inputs[2:4] == -1).all()
    assert sample.kind == "+".join(prompts)


def test_a_perfect_prior_is_the_truth(scene):
    sample = scene.sample(kind="perfect", prompts=("mask",), patch=PATCH)
    np.testing.assert_array_equal(sample.inputs[2] > 0, sample.truth)


def test_validation_holds_every_kind_and_repeats():
    first, again = validation_samples(1, PATCH), validation_samples(1, PATCH)
    assert [s.kind for s in first] == [
        "perfect", "displaced", "resized", "missing", "neighbour", "empty", "click", "box",
    ]  # fmt: skip
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.inputs, two.inputs)
