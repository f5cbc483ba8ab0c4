"""Axis by axis: the numbers of a blur and trilinear samples, and nothing where the axes differ."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from atlassegfm.axiswise import axis_weights, resampled_along_axes
from atlassegfm.sampling import trilinear
from atlassegfm.volume import Grid

HOW = {"truncate": 3.0, "snap": 1e-6}


def grid_of(shape, spacing, origin=(0.0, 0.0, 0.0), turned=0.0):
    c, s = np.cos(turned), np.sin(turned)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[-c, s, 0], [s, c, 0], [0, 0, 1]]) * np.array(spacing)
    affine[:3, 3] = origin
    return Grid(shape, affine)


def noise(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def by_blur(data, source, grid, sigma, fill):
    smooth = ndimage.gaussian_filter(data, sigma, mode="nearest", truncate=3.0)
    at = source.to_voxel(grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)))
    return trilinear(smooth, at, snap=1e-6, outside=fill)


@pytest.mark.parametrize(
    ("shape", "spacing", "wanted"),
    [
        ((30, 28, 26), (1.0, 1.0, 1.0), (2.3, 2.3, 2.3)),
        ((41, 33, 9), (0.8, 0.8, 5.0), (1.9, 1.9, 1.9)),
        ((24, 25, 26), (1.5, 1.5, 1.5), (9.0, 9.0, 9.0)),
        ((5, 1, 40), (2.0, 2.0, 1.0), (2.0, 2.0, 3.0)),
        ((60, 50, 50), (1.0, 1.0, 1.0), (1.2, 1.2, 1.2)),
    ],
)
def test_it_is_a_blur_and_trilinear_samples(shape, spacing, wanted):
    data, source = noise(shape), grid_of(shape, spacing, (3.0, -7.0, 11.0), turned=0.4)
    grid = source.with_spacing(wanted)
    sigma = 0.5 * np.sqrt(np.maximum((np.array(wanted) / spacing) ** 2 - 1.0, 0.0))
    out = resampled_along_axes(data, source, grid, sigma, fill=-9.0, **HOW)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, by_blur(data, source, grid, sigma, -9.0), atol=3e-6)


def test_what_lies_outside_is_filled():
    data, source = noise((12, 12, 12)), grid_of((12, 12, 12), (1.0, 1.0, 1.0))
    grid = grid_of((10, 10, 10), (2.0, 2.0, 2.0), (2.0, -3.0, -3.0))
    sigma = np.full(3, 0.8)
    out = resampled_along_axes(data, source, grid, sigma, fill=-9.0, **HOW)
    np.testing.assert_allclose(out, by_blur(data, source, grid, sigma, -9.0), atol=3e-6)
    assert 0 < np.count_nonzero(out == -9.0) < out.size


@pytest.mark.parametrize("turned", [0.01, np.pi / 2])
def test_nothing_for_other_axes(turned):
    source, grid = grid_of((9, 9, 9), (1.0, 1.0, 1.0)), grid_of((5, 5, 5), (2.0, 2.0, 2.0), turned=turned)
    assert resampled_along_axes(noise((9, 9, 9)), source, grid, np.ones(3), fill=0.0, **HOW) is None


def test_what_is_no_number_spreads_no_farther_than_the_blur():
    data, source = noise((40, 12, 12)), grid_of((40, 12, 12), (1.0, 1.0, 1.0))
    data[5, 6, 6] = np.nan
    grid = source.with_spacing((2.0, 2.0, 2.0))
    out = resampled_along_axes(data, source, grid, np.full(3, 0.87), fill=0.0, **HOW)
    assert np.isnan(out[2, 3, 3])
    assert np.isfinite(out[6:]).all()


def test_the_number_of_threads_does_not_show(monkeypatch):
    data, source = noise((64, 60, 60)), grid_of((64, 60, 60), (1.0, 1.0, 1.0))
    grid, found = source.with_spacing((1.1, 1.1, 1.1)), []
    for threads in (1, 2):
        monkeypatch.setattr("atlassegfm.axiswise.compute_threads", lambda threads=threads: threads)
        found.append(resampled_along_axes(data, source, grid, np.full(3, 0.3), fill=0.0, **HOW))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("size", [1, 2, 7])
@pytest.mark.parametrize("sigma", [0.0, 0.4, 5.0])
def test_weights_are_means(size, sigma):
    found = axis_weights(np.array([-0.6, -0.4, 0.0, 0.3, size - 0.7, size + 2.0]), size, sigma, 3.0)
    np.testing.assert_allclose(found.weights.sum(axis=1), 1.0, rtol=1e-6)
    assert (found.first >= 0).all()
    assert (found.first + found.weights.shape[1] <= size).all()
    assert found.inside.tolist() == [False, True, True, True, True, False]
