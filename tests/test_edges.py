"""The guided filter that draws a fused map to the image's edges."""

from __future__ import annotations

import numpy as np
import pytest

from atlassegfm.fusion.edges import RIDGE, _guided, follow_edges
from atlassegfm.fusion.soft import soften
from atlassegfm.overlap import dice
from balls import SPACING, ball, scan


def slow_guided(probability, guide, window):
    """Eq. 5, 6 and 8 of He et al. written out, window by window."""
    half = [w // 2 for w in window]
    padded = [np.pad(x.astype(np.float64), [(h, h) for h in half], mode="edge") for x in (guide, probability)]
    windows = [np.lib.stride_tricks.sliding_window_view(x, window).reshape(*guide.shape, -1) for x in padded]
    i, p = windows
    a = ((i * p).mean(-1) - i.mean(-1) * p.mean(-1)) / (i.var(-1) + RIDGE)
    b = p.mean(-1) - a * i.mean(-1)
    means = [np.pad(x, [(h, h) for h in half], mode="edge") for x in (a, b)]
    a, b = (np.lib.stride_tricks.sliding_window_view(x, window).mean(axis=(-1, -2, -3)) for x in means)
    return np.clip(a * guide + b, 0.0, 1.0)


def test_the_filter_is_the_papers():
    rng = np.random.default_rng(1)
    probability, guide = rng.random((2, 9, 8, 7)).astype(np.float32)
    window = np.array([5, 3, 3])
    np.testing.assert_allclose(_guided(probability, guide, window), slow_guided(probability, guide, window), atol=1e-4)


@pytest.mark.parametrize("radius", [9.0, 11.0])
def test_a_border_off_by_one_voxel_moves_to_the_edge(radius):
    truth = ball(10.0)
    before = ball(radius).astype(np.float32)
    after = follow_edges(before, scan(truth), SPACING)
    assert after.dtype == np.float32
    assert after.min() >= 0
    assert after.max() <= 1
    assert dice(after >= 0.5, truth) > dice(before >= 0.5, truth) + 0.03


def test_a_right_border_stays():
    truth = ball(10.0)
    assert dice(follow_edges(truth.astype(np.float32), scan(truth), SPACING) >= 0.5, truth) > 0.98


def test_gain_and_offset_of_the_scanner_do_not_matter():
    truth, before = ball(10.0), soften(ball(9.0), SPACING, 1.0)
    image = scan(truth)
    first = follow_edges(before, image, SPACING)
    np.testing.assert_allclose(follow_edges(before, 30 * image - 2000, SPACING), first, atol=1e-3)


def test_millimetres_not_voxels():
    """The same scene sampled twice as finely in the plane: the same answer there."""
    truth, before = ball(10.0), ball(8.0).astype(np.float32)
    image = scan(truth, noise=0.0)
    coarse = follow_edges(before, image, SPACING)
    fine = follow_edges(
        *(np.repeat(np.repeat(x, 2, axis=0), 2, axis=1) for x in (before, image)),
        (SPACING[0] / 2, SPACING[1] / 2, SPACING[2]),
    )
    pooled = fine.reshape(40, 2, 40, 2, 24).mean(axis=(1, 3))
    assert dice(pooled >= 0.5, coarse >= 0.5) > 0.95


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_or_all_claimed_is_left_alone(share):
    probability = np.full((6, 6, 6), share, np.float32)
    image = np.random.default_rng(0).random((6, 6, 6), dtype=np.float32)
    np.testing.assert_array_equal(follow_edges(probability, image, SPACING), probability)


def test_a_flat_image_leaves_the_map_alone():
    before = ball(9.0).astype(np.float32)
    np.testing.assert_array_equal(follow_edges(before, np.full(before.shape, 7.0, np.float32), SPACING), before)
