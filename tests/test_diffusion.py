"""The diffusion of a fused map that stops at the image's edges."""

from __future__ import annotations

import numpy as np
import pytest

from atlassegfm.fusion import diffusion
from atlassegfm.fusion.diffusion import _solved, _usual, diffused
from atlassegfm.fusion.soft import signed_distance
from atlassegfm.overlap import dice
from balls import SPACING, ball, scan


def spread(probability, image, spacing=SPACING):
    return diffused(probability, image, signed_distance(probability >= 0.5, spacing), spacing)


def test_the_solution_is_where_the_energy_of_the_paper_has_no_slope():
    rng = np.random.default_rng(3)
    before, guide = rng.random((2, 4, 3, 5))
    domain, length = rng.random(before.shape) > 0.2, np.array([0.5, 1.0, 2.0])
    sure = before >= 0.8

    def energy(u):
        value = ((u - before)[domain] ** 2).sum()
        for axis in range(3):
            d, linked = np.diff(guide, axis=axis), np.diff(domain.astype(int), axis=axis) == 0
            linked &= np.take(domain, range(domain.shape[axis] - 1), axis)
            both = np.minimum(*(np.take(sure, range(k, k + d.shape[axis]), axis) for k in (0, 1)))
            weight = np.exp(-0.5 * (d / _usual(np.abs(d)[both], 1.0)) ** 2)
            value += (length[axis] ** 2 * weight * np.diff(u, axis=axis) ** 2)[linked].sum()
        return value

    found = before.copy()
    found[domain] = _solved(before, guide, domain, length)
    for step in rng.normal(size=(20, *before.shape)) * domain:
        slope = (energy(found + 1e-4 * step) - energy(found - 1e-4 * step)) / 2e-4
        assert abs(slope) < 0.01 * np.linalg.norm(step) * np.linalg.norm(before[domain])


def test_a_bite_out_of_a_label_is_filled_up_to_the_edge_and_no_farther():
    truth = ball(14.0)
    before = (0.9 * truth).astype(np.float32)
    before[ball(4.0, centre=(30, 20, 12))] = 0.3
    after = spread(before, scan(truth))
    assert after.dtype == np.float32
    assert dice(after >= 0.5, truth) > dice(before >= 0.5, truth) + 0.01
    assert (after[~truth] < 0.2).mean() > 0.999


def test_where_the_image_shows_nothing_a_border_gets_soft_and_stays():
    """Without an edge the label is neither lost nor larger than it was."""
    before = ball(12.0).astype(np.float32)
    image = np.random.default_rng(0).normal(100, 5, before.shape).astype(np.float32)
    after = spread(before, image)
    assert dice(after >= 0.5, before >= 0.5) > 0.9


def test_far_from_the_label_nothing_changes():
    before = np.where(ball(5.0, centre=(10, 10, 6)), 0.9, 0.1).astype(np.float32)
    far = signed_distance(before >= 0.5, SPACING) < -12.0
    after = spread(before, scan(ball(8.0, centre=(10, 10, 6))))
    np.testing.assert_array_equal(after[far], before[far])
    assert np.abs(after - before).max() > 0.1


def test_gain_and_offset_of_the_scanner_do_not_matter():
    truth, before = ball(10.0), (0.8 * ball(9.0)).astype(np.float32)
    first = spread(before, scan(truth))
    np.testing.assert_allclose(spread(before, 30 * scan(truth) - 2000), first, atol=1e-3)


def test_millimetres_not_voxels():
    """The same scene on voxels of half the size, which are put together again."""
    centre, shape = (28, 28, 14), (56, 56, 28)
    truth, before = ball(22.0, centre, shape), (0.8 * ball(20.0, centre, shape)).astype(np.float32)
    image, fine_spacing = scan(truth), tuple(s / 2 for s in SPACING)
    coarse = spread(before, image)
    fine = spread(*(x.repeat(2, 0).repeat(2, 1).repeat(2, 2) for x in (before, image)), fine_spacing)
    pooled = fine.reshape(56, 2, 56, 2, 28, 2).mean(axis=(1, 3, 5))
    assert np.abs(pooled - coarse).mean() < 0.02
    assert dice(pooled >= 0.5, coarse >= 0.5) > 0.98


@pytest.mark.parametrize("shape", [(1, 12, 12), (12, 12, 1), (3, 3, 3)])
def test_slices_and_specks(shape):
    before = np.zeros(shape, np.float32)
    before[tuple(n // 2 for n in shape)] = 0.9
    after = spread(before, np.random.default_rng(0).random(shape, dtype=np.float32))
    assert after.shape == shape
    assert np.isfinite(after).all()


def test_the_usual_difference():
    normal = np.abs(np.random.default_rng(0).normal(0, 3.0, 10_000))
    assert _usual(normal, 500.0) == pytest.approx(3.0, rel=0.03)
    assert _usual(np.append(normal, np.full(1000, 500.0)), 500.0) == pytest.approx(3.0, rel=0.15)
    assert 0 < _usual(np.repeat([0.0, 1.0], [60, 40]), 1.0) < 1
    assert _usual(np.zeros(5), 1.0) > 0
    assert _usual(np.zeros(5), 0.0) == _usual(np.empty(0), 1.0) == np.inf


def test_large_labels_are_seen_with_larger_voxels(monkeypatch):
    seen = []
    solve = diffusion._solved
    monkeypatch.setattr(diffusion, "_solved", lambda *a: seen.append(a[0].shape) or solve(*a))
    truth = ball(18.0)
    spread(truth.astype(np.float32), scan(truth), tuple(2 * s for s in SPACING))
    assert np.prod(seen[0]) < truth.size / 2
