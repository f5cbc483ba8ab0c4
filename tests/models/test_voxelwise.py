"""The built-in model on a scene whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from atlassegfm.errors import ModelError
from atlassegfm.models import voxelwise
from atlassegfm.models.base import Support, prompt_from_labels
from atlassegfm.models.features import signed_distance
from atlassegfm.models.voxelwise import FORESTS, VoxelwiseModel
from atlassegfm.volume import Volume
from eggs import GRID, eggs


def scene(seed: int, shift: float = 0.0) -> tuple[Volume, Volume]:
    """Two blobs of their own grey levels in noise; the truth is their shape."""
    rng = np.random.default_rng(seed)
    labels = eggs(shift)
    image = np.array([60.0, 140.0, 200.0])[labels] + rng.normal(0, 12, GRID.shape)
    return Volume(ndimage.gaussian_filter(image, 0.5).astype(np.float32), GRID), Volume(labels, GRID)


def moved(labels: Volume, voxels: int) -> Volume:
    return labels.with_data(np.roll(labels.data, voxels, axis=1))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture(scope="module")
def taught() -> tuple[VoxelwiseModel, Support]:
    image, truth = scene(0)
    support = Support(image, truth, moved(truth, 2))
    model = VoxelwiseModel(seed=0)
    model.customise(support)
    return model, support


@pytest.mark.parametrize("value", [1, 2])
def test_it_moves_a_shifted_prior_to_the_border_in_the_image(taught, value):
    model, _ = taught
    image, truth = scene(1, shift=1.0)
    prior = moved(truth, 3)
    model.set_image(image)
    answer = model.segment(prompt_from_labels(prior, value, "mask"))
    assert answer.dtype == np.float32
    assert answer.shape == GRID.shape
    before = dice(prior.data == value, truth.data == value)
    after = dice(answer > 0.5, truth.data == value)
    assert before < 0.85
    assert after > 0.93


@pytest.mark.parametrize("kind", ["click", "box", "box2d"])
def test_coarser_prompts_find_the_label_too(kind):
    image, truth = scene(0)
    model = VoxelwiseModel(seed=0)
    model.customise(Support(image, truth, moved(truth, 2), kind))
    query, wanted = scene(1, shift=1.0)
    model.set_image(query)
    answer = model.segment(prompt_from_labels(moved(wanted, 3), 1, kind))
    assert dice(answer > 0.5, wanted.data == 1) > 0.9


def test_the_true_mask_stays_as_it_is(taught):
    model, _ = taught
    image, truth = scene(2)
    model.set_image(image)
    answer = model.segment(prompt_from_labels(truth, 1, "mask"))
    assert dice(answer > 0.5, truth.data == 1) > 0.95


def test_contrast_of_another_scanner_does_not_matter(taught):
    model, _ = taught
    image, truth = scene(1, shift=1.0)
    prior = prompt_from_labels(moved(truth, 3), 1, "mask")
    other = image.with_data((np.sign(image.data) * np.abs(image.data) ** 0.7 * 31 + 500).astype(np.float32))
    model.set_image(other)
    assert dice(model.segment(prior) > 0.5, truth.data == 1) > 0.93


def test_far_from_the_prior_nothing_is_claimed(taught):
    model, _ = taught
    image, truth = scene(1)
    model.set_image(image)
    answer = model.segment(prompt_from_labels(truth, 1, "mask"))
    # The band that is classified, and the smoothing of the answer.
    far = signed_distance(truth.data == 1, GRID.spacing) > model._forests[1].reaches[model._told[1]] + 6.0
    assert far.mean() > 0.2
    assert answer[far].max() == 0.0


def test_support_answers_are_worse_than_memory_and_better_than_the_prior(taught):
    model, support = taught
    honest = dice(model.segment_support(support, 1) > 0.5, support.truth.data == 1)
    assert dice(support.priors.data == 1, support.truth.data == 1) + 0.03 < honest <= 1.0


def test_a_label_that_the_prior_lost_gives_an_empty_support_answer(taught):
    model, support = taught
    lost = Support(support.image, support.truth, support.priors.with_data(np.where(support.priors.data == 1, 0, 2)))
    assert model.segment_support(lost, 1).max() == 0.0


def test_same_seed_same_bytes(tmp_path):
    image, truth = scene(0)
    support = Support(image, truth, moved(truth, 2))
    answers = []
    for folder in "ab":
        FORESTS.memory.forget()
        model = VoxelwiseModel(seed=3, cache=tmp_path / folder)
        model.customise(support)
        model.set_image(image)
        answers.append(model.segment(support.prompt(2)).tobytes())
    assert answers[0] == answers[1]


def test_queries_after_the_first_learn_nothing(taught, monkeypatch, tmp_path):
    """However much the round trip errs: the trees are told. In this process and in another one."""
    _, support = taught
    learnt, grow = [], voxelwise.grown
    monkeypatch.setattr(voxelwise, "grown", lambda seed, lessons: learnt.append(seed) or grow(seed, lessons))
    reached = []
    for voxels, seed, forget in ((2, 9, False), (-2, 9, False), (5, 9, False), (5, 9, True), (2, 8, False)):
        if forget:
            FORESTS.memory.forget()
        model = VoxelwiseModel(seed=seed, cache=tmp_path)
        reached.append(model.customise(replace(support, priors=moved(support.truth, voxels)))["reach_mm"])
    assert learnt == [9, 9, 8, 8]
    assert reached[0] == reached[1] != reached[2] == reached[3]


def test_trees_from_a_file_answer_as_those_just_grown(taught, tmp_path):
    _, support = taught
    answers = []
    for _ in range(2):
        FORESTS.memory.forget()
        model = VoxelwiseModel(seed=0, cache=tmp_path)
        model.customise(support)
        answers.append([model.segment_support(support, value) for value in (1, 2)])
    np.testing.assert_array_equal(*answers)


def test_trees_that_are_told_of_larger_errors_look_farther_and_move_farther(taught):
    """A prior that is off by six millimetres: trees that are told of one do not reach the border."""
    _, support = taught
    image, truth = scene(1)
    off = moved(truth, 4)
    after = []
    for voxels in (0, 4):
        model = VoxelwiseModel(seed=0)
        model.customise(replace(support, priors=moved(support.truth, voxels)))
        model.set_image(image)
        after.append(dice(model.segment(prompt_from_labels(off, 1, "mask")) > 0.5, truth.data == 1))
    assert after[0] + 0.03 < after[1]


def test_misuse_is_told(taught):
    _, support = taught
    with pytest.raises(ModelError, match="set_image"):
        VoxelwiseModel().segment(support.prompt(1))
    fresh = VoxelwiseModel()
    fresh.set_image(support.image)
    with pytest.raises(ModelError, match="not taught label 1"):
        fresh.segment(support.prompt(1))


def test_an_answer_does_not_depend_on_what_was_asked_before(taught):
    model, support = taught
    harder = replace(support, priors=moved(support.truth, 3))
    after = [model.segment_support(lesson, value) for lesson in (support, harder) for value in (1, 2)]
    fresh = VoxelwiseModel(seed=0)
    fresh.customise(support)
    first = [fresh.segment_support(lesson, value) for lesson in (harder, support) for value in (1, 2)]
    for one, other in zip(after, first[2:] + first[:2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_identity_is_that_of_what_was_learnt(taught):
    _, support = taught
    first, second, other, told = (VoxelwiseModel(seed=seed) for seed in (0, 0, 1, 0))
    assert first.identity(1) is None
    first.customise(support)
    second.customise(replace(support, priors=moved(support.truth, -2)))
    other.customise(support)
    told.customise(replace(support, priors=moved(support.truth, 5)))
    assert first.identity(1) == second.identity(1) == told.identity(1) != other.identity(1)


def test_on_the_atlas_trees_are_told_of_the_priors_that_they_are_given(taught):
    """The answer to a lesson does not depend on the query for which the model was customised."""
    _, support = taught
    lesson = replace(support, priors=moved(support.truth, 4), optimism=1.5)
    answers = []
    for voxels in (1, 5):
        model = VoxelwiseModel(seed=0)
        model.customise(replace(support, priors=moved(support.truth, voxels)))
        answers.append(model.segment_support(lesson, 1))
    np.testing.assert_array_equal(*answers)
