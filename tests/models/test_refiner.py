"""The built-in network as a model, on a scene whose answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from atlassegfm.builtin.customise import Course
from atlassegfm.builtin.options import BuiltinOptions
from atlassegfm.builtin.weights import save_weights
from atlassegfm.errors import ModelError
from atlassegfm.models.base import Support, prompt_from_labels
from atlassegfm.models.refiner import NETWORKS, RefinerModel
from atlassegfm.overlap import dice
from atlassegfm.prompts import make_prompt
from atlassegfm.volume import Grid, Volume
from blobs import blobs, grey, network

COURSE = Course(fewest_steps=30, most_steps=30, learning_rate=1e-2, judging_patches=4)
GRID = Grid(blobs().shape, np.diag([2.0, 2.0, 2.0, 1.0]))
#: Axes permuted and flipped, another origin: the same scan as another scanner would store it.
TURNED = np.array([[0, 0, -2.0, 40.0], [-2.0, 0, 0, 10.0], [0, 2.0, 0, -30.0], [0, 0, 0, 1]])


def scan(seed: int, shift: float = 0.0, grid: Grid = GRID) -> tuple[Volume, Volume]:
    truth = blobs(shift=shift)
    return Volume(grey(truth, seed), grid), Volume(truth, grid)


def moved(labels: Volume, voxels: int) -> Volume:
    return labels.with_data(np.roll(labels.data, voxels, axis=1))


def support(kind: str = "mask") -> Support:
    image, truth = scan(0)
    return Support(image, truth, moved(truth, 1), kind)


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> BuiltinOptions:
    path = tmp_path_factory.mktemp("weights") / "small.safetensors"
    save_weights(path, network(), {"steps": 0})
    return BuiltinOptions(network=str(path))


@pytest.fixture(scope="module")
def model(weights) -> RefinerModel:
    model = RefinerModel(options=weights, course=COURSE)
    assert model.customise(support())["customised"] is True
    return model


def answer(model: RefinerModel, image: Volume, prior: Volume, value: int, kind: str = "mask") -> np.ndarray:
    model.set_image(image)
    return model.segment(prompt_from_labels(prior, value, kind))


@pytest.mark.parametrize("value", [1, 2])
def test_a_shifted_prior_moves_towards_the_border_in_the_image(model, value):
    image, truth = scan(1, shift=1.0)
    prior = moved(truth, 2)
    found = answer(model, image, prior, value)
    assert found.dtype == np.float32
    assert found.shape == GRID.shape
    assert 0.0 <= found.min() <= found.max() <= 1.0
    before = dice(prior.data == value, truth.data == value)
    assert dice(found > 0.5, truth.data == value) > before + 0.03


def test_the_true_mask_is_nearly_kept(model):
    image, truth = scan(2)
    for value in (1, 2):
        assert dice(answer(model, image, truth, value) > 0.5, truth.data == value) > 0.9


def test_an_empty_mask_is_answered_by_nothing(model):
    image, truth = scan(2)
    model.set_image(image)
    asked = prompt_from_labels(truth, 1, "mask")
    assert model.segment(replace(asked, mask=np.zeros_like(asked.mask))).max() == 0.0


def test_the_mask_of_a_neighbour_is_not_grown_into_something_else(model):
    """Told that label 2's place is label 1, it may keep what it was told or drop it, but never adds tissue."""
    image, truth = scan(2)
    wrong = (truth.data == 2).astype(np.float32)
    model.set_image(image)
    found = model.segment(make_prompt("mask", wrong, GRID, 1)) > 0.5
    assert np.count_nonzero(found & (truth.data == 0)) < 0.2 * wrong.sum()
    assert np.count_nonzero(found) < 1.3 * wrong.sum()


def test_the_file_order_of_axes_does_not_matter(model):
    image, truth = scan(1)
    prior = moved(truth, 1)
    plain = answer(model, image, prior, 1)
    grid = Grid(GRID.shape, TURNED)
    np.testing.assert_allclose(answer(model, Volume(image.data, grid), Volume(prior.data, grid), 1), plain, atol=0.02)


def test_the_answer_is_in_the_right_place_on_another_grid(model):
    """A flipped, finer, larger grid shows the same label at the same world position."""
    image, truth = scan(1)
    affine = np.diag([-1.0, 1.0, 2.0, 1.0])
    affine[0, 3] = 2.0 * GRID.shape[0] - 1.5
    affine[1, 3] = -0.5
    fine = np.repeat(np.repeat(np.arange(truth.data.size).reshape(GRID.shape), 2, 0), 2, 1)[::-1]
    grid = Grid(fine.shape, affine)
    view = [Volume(v.data.ravel()[fine], grid) for v in (image, truth)]
    found = answer(model, *view, 1) > 0.5
    assert dice(found, view[1].data == 1) > 0.85
    expected = GRID.to_world(np.argwhere(truth.data == 1).mean(axis=0))
    np.testing.assert_allclose(grid.to_world(np.argwhere(found).mean(axis=0)), expected, atol=1.0)


def test_support_answers_correct_the_prior_and_a_lost_label_has_none(model):
    material = support()
    found = model.segment_support(material, 1) > 0.5
    truth = material.truth.data == 1
    assert dice(found, truth) > dice(material.priors.data == 1, truth)
    lost = replace(material, priors=material.priors.with_data(np.where(material.priors.data == 2, 2, 0)))
    assert model.segment_support(lost, 1).max() == 0.0


@pytest.mark.parametrize("kind", ["click", "box", "box2d"])
def test_other_prompts_stay_near_what_they_point_at(weights, kind):
    model = RefinerModel(options=weights, course=replace(COURSE, fewest_steps=4, most_steps=4, learning_rate=1e-3))
    model.customise(support(kind))
    image, truth = scan(1)
    assert dice(answer(model, image, truth, 1, kind) > 0.5, truth.data == 1) > 0.6


def test_without_customising_the_shipped_network_answers(weights):
    model = RefinerModel(options=replace(weights, customise=False))
    facts = model.customise(support())
    assert facts["learnable_parameters"] == 0
    assert facts["customised"] is False
    image, truth = scan(1)
    # The untrained network returns the prior.
    np.testing.assert_array_equal(answer(model, image, truth, 1) > 0.5, truth.data == 1)


def test_an_answer_does_not_depend_on_what_was_asked_before(model):
    image, truth = scan(1)
    small = truth.with_data(np.where(np.indices(GRID.shape)[0] < GRID.shape[0] // 2, truth.data, 0))
    fresh = answer(model, image, small, 1)
    model.set_image(truth)
    answer(model, image, moved(truth, 2), 1)
    np.testing.assert_array_equal(answer(model, image, small, 1), fresh)


def test_identity_is_that_of_what_was_learnt(weights, tmp_path):
    short = replace(COURSE, fewest_steps=1, most_steps=1)
    sessions = [RefinerModel(options=weights, course=short, seed=seed, cache=tmp_path) for seed in (0, 0, 1)]
    sessions.append(RefinerModel(options=replace(weights, customise=False)))
    assert sessions[0].identity(1) is None
    for session in sessions:
        session.customise(support())
    first, second, other, shipped = (session.identity(1) for session in sessions)
    assert first == second
    assert len({first, other, shipped}) == 3


def test_queries_on_which_registration_errs_about_as_much_share_what_is_learnt(weights, tmp_path):
    image, truth = scan(0)
    found = []
    for voxels in (1, 3, 5):
        short = replace(COURSE, fewest_steps=1, most_steps=1)
        session = RefinerModel(options=weights, course=short, seed=5, cache=tmp_path)
        facts = session.customise(Support(image, truth, moved(truth, voxels)))
        found.append((session.identity(1), facts["prior_border_error_mm"]))
        assert session.found_again == (voxels > 1)
    assert len(set(found)) == 1


def test_the_second_session_finds_the_weights_and_answers_alike(weights, tmp_path, monkeypatch):
    short = replace(COURSE, fewest_steps=2, most_steps=2)
    image, truth = scan(1)
    answers, found = [], []
    for seed, forget in ((7, False), (7, False), (7, True), (8, False)):
        if forget:
            NETWORKS.memory.forget()
        model = RefinerModel(options=weights, course=short, seed=seed, cache=tmp_path)
        model.customise(support())
        found.append(model.found_again)
        answers.append(answer(model, image, moved(truth, 2), 1).tobytes())
    assert found == [False, True, True, False]
    assert answers[0] == answers[1] == answers[2]
    assert len(list(tmp_path.iterdir())) == 2


def test_misuse_is_told(model, weights):
    _, truth = scan(1)
    prompt = prompt_from_labels(truth, 1, "mask")
    with pytest.raises(ModelError, match="set_image"):
        RefinerModel(options=weights).segment(prompt)
    fresh = RefinerModel(options=weights)
    fresh.set_image(scan(1)[0])
    with pytest.raises(ModelError, match="does not know label 1"):
        fresh.segment(prompt)
