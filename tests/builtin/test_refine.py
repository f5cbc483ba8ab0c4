"""Whole labels by tiles."""

import itertools

import numpy as np
import pytest
import torch

from atlassegfm.builtin import refine
from atlassegfm.builtin.network import RefinerNet, Shape
from atlassegfm.builtin.refine import refine_labels, tiled_probability
from atlassegfm.volume import Grid, Volume

SMALL = Shape(widths=(8, 16, 16, 16), depths=(1, 1, 1))


@pytest.fixture
def network() -> RefinerNet:
    torch.manual_seed(0)
    return RefinerNet(SMALL).eval()


@pytest.fixture
def priors() -> Volume:
    labels = np.zeros((70, 60, 20), np.uint8)
    labels[5:60, 10:30, 4:16] = 2
    labels[20:40, 30:44, 4:16] = 7
    return Volume(labels, Grid(labels.shape, np.eye(4)))


def test_untrained_tiles_give_the_priors_back(network, priors):
    image = Volume(np.random.default_rng(0).normal(size=priors.data.shape).astype(np.float32), priors.grid)
    found = refine_labels(network, image, priors)
    assert list(found) == [2, 7]
    for value, (box, probability) in found.items():
        whole = np.zeros(priors.data.shape, np.float32)
        whole[box] = probability
        np.testing.assert_array_equal(whole > 0.5, priors.data == value)
        assert probability.dtype == np.float32


@pytest.mark.parametrize("length", [9, 48, 49, 64, 131])
def test_tiles_cover_every_voxel_and_overlap(length):
    starts = refine._starts(length, refine.TILE)
    covered = np.zeros(max(length, refine.TILE), bool)
    for start in starts:
        covered[start : start + refine.TILE] = True
    assert covered.all()
    assert all(b - a <= refine.TILE - refine.OVERLAP for a, b in itertools.pairwise(starts))


def test_small_crops_are_padded(network):
    inputs = np.random.default_rng(0).normal(size=(6, 5, 17, 3)).astype(np.float32)
    assert tiled_probability(network, inputs).shape == (5, 17, 3)
