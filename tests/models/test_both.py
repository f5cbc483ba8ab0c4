"""The built-in model: two opinions, mixed by how far the first one leaves the prior."""

import numpy as np
import pytest

from atlassegfm.models import both
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.models.both import BothModel, network_share
from atlassegfm.models.registry import MODELS, create_model
from atlassegfm.prompts import make_prompt
from atlassegfm.volume import Grid, Volume

GRID = Grid((4, 5, 6), np.eye(4))


def opinion(value: float, seen: list):
    class Opinion(SegmentationModel):
        def __init__(self, **given):
            seen.append(given)

        def customise(self, support):
            return {"learnable_parameters": value, "trees": 7}

        def set_image(self, image):
            seen.append(image)

        def segment(self, prompt):
            return np.full(GRID.shape, value, np.float32)

        def segment_support(self, support, value_):
            return np.full(GRID.shape, value / 2, np.float32)

    return Opinion


def test_identity_is_that_of_both(monkeypatch, seen):
    model = BothModel()
    assert model.identity(1) is None
    monkeypatch.setattr(model._trees, "identity", lambda value: f"trees {value}", raising=False)
    assert model.identity(1) is None
    monkeypatch.setattr(model._network, "identity", lambda value: "network", raising=False)
    assert model.identity(1) == ("trees 1", "network")


@pytest.fixture
def seen(monkeypatch) -> list:
    seen = []
    monkeypatch.setattr(both, "VoxelwiseModel", opinion(0.2, seen))
    monkeypatch.setattr(both, "RefinerModel", opinion(0.8, seen))
    return seen


def test_both_learn_and_look(seen):
    model = BothModel(seed=3)
    assert [given["seed"] for given in seen] == [3, 3]
    image = Volume(np.zeros(GRID.shape, np.float32), GRID)
    labels = Volume(np.ones(GRID.shape, np.uint8), GRID)
    facts = model.customise(Support(image, labels, labels))
    assert facts["learnable_parameters"] == 0.8
    # The tables of `evaluate` add them up.
    assert facts["trees"] == 7
    assert {"voxelwise", "network"} <= set(facts)
    model.set_image(image)
    assert seen[-2:] == [image, image]


def test_the_network_answers_where_the_trees_tear_the_prior(seen):
    """The trees find nothing of the prior, so that all is the network's."""
    prompt = make_prompt("mask", np.ones(GRID.shape, np.float32), GRID, 1)
    answer = BothModel().segment(prompt)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, 0.8)
    labels = Volume(np.ones(GRID.shape, np.uint8), GRID)
    support = Support(Volume(np.zeros(GRID.shape, np.float32), GRID), labels, labels)
    np.testing.assert_allclose(BothModel().segment_support(support, 1), 0.4)


def test_share_of_the_network_follows_the_agreement_of_trees_and_prior():
    prior = np.zeros(GRID.shape, np.float32)
    prior[:2] = 1.0
    prompt = make_prompt("mask", prior, GRID, 1)
    trees = prior.copy()
    assert network_share(prompt, trees) == 0.0
    trees[1] = 0.0  # Dice 2/3
    assert network_share(prompt, trees) == 1.0
    trees[1, :3] = 1.0  # Dice 8/9
    assert network_share(prompt, trees) == pytest.approx((0.9 - 8 / 9) / 0.2, abs=1e-6)
    assert network_share(None, trees) == 0.5
    assert network_share(make_prompt("click", prior, GRID, 1), trees) == 0.5


def test_what_users_get_by_default():
    assert isinstance(create_model("builtin", device="cpu", seed=0), BothModel)
    assert {"builtin", "builtin-trees", "builtin-network"} <= set(MODELS)
