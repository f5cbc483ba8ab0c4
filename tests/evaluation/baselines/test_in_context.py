"""Slice-wise in-context segmentation with a model small enough to see through."""

from types import SimpleNamespace

import numpy as np
import pytest

from atlassegfm.atlas import Atlas
from atlassegfm.errors import ModelError
from atlassegfm.evaluation.baselines import PROCEDURES, Job
from atlassegfm.evaluation.baselines.in_context import support_slices
from atlassegfm.evaluation.baselines.slice_models import SLICE_MODELS
from atlassegfm.evaluation.methods import Method
from atlassegfm.volume import Grid, Volume


class NearestIntensity:
    """Probability that a pixel is nearer to the examples' mean intensity inside the mask than outside."""

    size, support = 32, 4

    def __init__(self):
        self.seen = []

    def predict(self, targets, images, masks):
        self.seen.append((targets.shape, images.shape, masks.shape, images.min(), images.max()))
        out = np.zeros_like(targets)
        for n, target in enumerate(targets):
            inside = masks[n] > 0.5
            if inside.any():
                out[n] = abs(target - images[n][inside].mean()) < abs(target - images[n][~inside].mean())
        return out


@pytest.fixture
def model(monkeypatch):
    made = NearestIntensity()
    monkeypatch.setitem(SLICE_MODELS, "nearest", SimpleNamespace(load=lambda device, seed: made))
    return made


def scan(shape, affine, low=20, high=40):
    data = np.zeros(shape, np.float32)
    labels = np.zeros(shape, np.uint8)
    world = Grid(shape, affine).to_world(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1))
    labels[np.linalg.norm(world, axis=-1) < 12] = 2
    data[labels == 2] = 100
    grid = Grid(shape, affine)
    return Volume(data, grid), Volume(labels, grid)


RAS = np.array([[2.0, 0, 0, -20], [0, 2, 0, -20], [0, 0, 4, -20], [0, 0, 0, 1]])
#: The same field of view with axes S, L, A: slices have to be found whatever the file's order is.
SLA = np.array([[0.0, -2, 0, 20], [0, 0, 2, -20], [4, 0, 0, -20], [0, 0, 0, 1]])


def test_finds_the_ball_whatever_the_axis_order(model):
    image, labels = scan((21, 21, 11), RAS)
    query, truth = scan((11, 21, 21), SLA)
    method = Method("x", model="nearest", procedure="in-context")
    job = Job(method, Atlas(image, labels, {2: "ball"}), query, None, pool=list)
    outcome = PROCEDURES["in-context"](job)
    found = outcome.maps["final"]
    assert found.grid is query.grid
    assert found.data.dtype == np.uint8
    assert set(np.unique(found.data)) == {0, 2}
    overlap = 2 * ((found.data == 2) & (truth.data == 2)).sum() / ((found.data == 2).sum() + (truth.data == 2).sum())
    assert overlap > 0.85
    targets, images, masks, low, high = model.seen[0]
    assert targets == (8, 32, 32)
    assert images == masks == (8, 4, 32, 32)
    assert low >= 0
    assert high <= 1


def test_support_slices_are_the_nearest_in_relative_height():
    chosen = support_slices(10, 20, 3)
    assert set(chosen[0].tolist()) == {0, 1, 2}
    assert chosen.shape == (10, 3)
    assert set(chosen[9].tolist()) == {17, 18, 19}
    assert support_slices(5, 2, 4).tolist()[0] == [0, 1, 0, 1]  # a short atlas repeats its slices


def test_unknown_model():
    job = Job(Method("x", model="magic", procedure="in-context"), None, None, None, pool=list)
    with pytest.raises(ModelError, match="no in-context model 'magic'; expected one of universeg, tyche"):
        PROCEDURES["in-context"](job)
