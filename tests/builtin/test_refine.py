"""Whole labels by tiles."""

import itertools

import numpy as np
import pytest
import torch

from atlassegfm.builtin import refine
from atlassegfm.builtin.encoding import encode
from atlassegfm.builtin.network import RefinerNet, Shape
from atlassegfm.builtin.refine import tiled_logits

SMALL = Shape(widths=(8, 16, 16, 16), depths=(1, 1, 1))


@pytest.fixture
def network() -> RefinerNet:
    torch.manual_seed(0)
    return RefinerNet(SMALL).eval()


def test_untrained_tiles_give_the_priors_back(network):
    one, other = np.zeros((2, 70, 60, 20), bool)
    one[5:60, 10:30, 4:16] = True
    other[20:40, 30:44, 4:16] = True
    image = np.random.default_rng(0).normal(size=one.shape).astype(np.float32)
    for prior, rivals in ((one, other), (other, one)):
        logits = tiled_logits(network, encode(image, prior, rivals))
        np.testing.assert_array_equal(logits > 0.0, prior)
        assert logits.dtype == np.float32


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
    assert tiled_logits(network, inputs).shape == (5, 17, 3)
