"""The built-in model: the mean of two opinions."""

import numpy as np
import pytest

from atlassegfm.models import both
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.models.both import BothModel
from atlassegfm.models.registry import MODELS, create_model
from atlassegfm.prompts import make_prompt
from atlassegfm.volume import Grid, Volume

GRID = Grid((4, 5, 6), np.eye(4))


def opinion(value: float, seen: list):
    class Opinion(SegmentationModel):
        def __init__(self, **given):
            seen.append(given)

        def customise(self, support):
            return {"learnable_parameters": value}

        def set_image(self, image):
            seen.append(image)

        def segment(self, prompt):
            return np.full(GRID.shape, value, np.float32)

        def segment_support(self, support, value_):
            return np.full(GRID.shape, value / 2, np.float32)

    return Opinion


@pytest.fixture
def seen(monkeypatch) -> list:
    seen = []
    monkeypatch.setattr(both, "VoxelwiseModel", opinion(0.2, seen))
    monkeypatch.setattr(both, "RefinerModel", opinion(0.8, seen))
    return seen


def test_the_answer_is_the_mean_of_both(seen):
    model = BothModel(seed=3)
    assert [given["seed"] for given in seen] == [3, 3]
    image = Volume(np.zeros(GRID.shape, np.float32), GRID)
    labels = Volume(np.ones(GRID.shape, np.uint8), GRID)
    support = Support(image, labels, labels)
    facts = model.customise(support)
    assert facts["learnable_parameters"] == 0.8
    assert {"trees", "network"} <= set(facts)
    model.set_image(image)
    assert seen[-2:] == [image, image]
    answer = model.segment(make_prompt("mask", labels.data.astype(np.float32), GRID, 1))
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, 0.5)
    np.testing.assert_allclose(model.segment_support(support, 1), 0.25)


def test_what_users_get_by_default():
    assert isinstance(create_model("builtin", device="cpu", seed=0), BothModel)
    assert {"builtin", "builtin-trees", "builtin-network"} <= set(MODELS)
