"""Axis order, windows and voxel sizes, and the exact way back."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlassegfm.models.preparation import PLANES, Oriented, Resampled, Window
from atlassegfm.volume import Grid

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 0.8, 3.0), (2.5, 1.2, 1.9)]


def grids(axis_orders):
    for number, order in enumerate(axis_orders):
        affine = np.eye(4)
        affine[:3, :3] = order @ np.diag(SPACINGS[number % 3])
        affine[:3, 3] = (10.0, -20.5, 33.25)
        yield Grid((7, 9, 5), affine)


@pytest.mark.parametrize("codes", ["RAS", *PLANES.values()])
def test_reordering_moves_voxels_to_where_they_were_in_the_world(axis_orders, codes):
    rng = np.random.default_rng(0)
    for grid in grids(axis_orders):
        axes, data = Oriented(grid, codes), rng.normal(size=grid.shape)
        moved = axes.array(data)
        assert "".join(nib.aff2axcodes(axes.grid.affine)) == codes
        assert moved.flags.c_contiguous
        np.testing.assert_array_equal(axes.back(moved), data)
        for voxel in rng.integers(0, 5, (4, 3)):
            there = axes.point(tuple(voxel))
            assert moved[there] == data[tuple(voxel)]
            np.testing.assert_allclose(axes.grid.to_world(there), grid.to_world(voxel), atol=1e-9)


def test_boxes_hold_the_same_voxels(axis_orders):
    box = ((1, 3), (2, 7), (0, 4))
    for grid in grids(axis_orders):
        axes, mask = Oriented(grid, "SPL"), np.zeros(grid.shape, bool)
        mask[tuple(slice(*pair) for pair in box)] = True
        moved = np.zeros(axes.grid.shape, bool)
        moved[tuple(slice(*pair) for pair in axes.box(box))] = True
        np.testing.assert_array_equal(axes.array(mask), moved)


def test_oblique_axes_take_the_nearest_order(oblique_grid):
    axes = Oriented(oblique_grid, "RAS")
    assert "".join(nib.aff2axcodes(axes.grid.affine)) == "RAS"
    np.testing.assert_allclose(axes.grid.corners.mean(axis=0), oblique_grid.corners.mean(axis=0))


@given(st.tuples(*[st.integers(-6, 9)] * 3), st.tuples(*[st.integers(1, 12)] * 3))
def test_a_window_gives_back_what_it_cut(start, size):
    data = np.arange(7 * 6 * 5, dtype=np.float32).reshape(7, 6, 5) + 1.0
    window = Window(start, size)
    cut = window.cut(data, fill=-1.0)
    assert cut.shape == size
    np.testing.assert_array_equal(window.paste(cut, data), data)
    for voxel in np.argwhere(cut > 0):
        assert window.point(tuple(voxel + start)) == tuple(voxel)
        assert cut[tuple(voxel)] == data[tuple(voxel + np.array(start))]


def test_a_window_lies_around_its_mask():
    mask = np.zeros((20, 20, 20), bool)
    mask[4:9, 10:12, 18:20] = True
    window = Window.around(mask, (8, 8, 8))
    assert window.cut(mask).sum() == mask.sum()
    assert window.start == (2, 7, 15)


@pytest.mark.parametrize("spacing_mm", [0.9, 1.5, 4.0])
def test_resampling_gives_the_prior_back_exactly_to_a_model_that_repeats_it(axis_orders, spacing_mm):
    for grid in list(grids(axis_orders))[::5]:
        fine, mask = Resampled(grid, spacing_mm), np.zeros(grid.shape, np.float32)
        mask[2:5, 3:8, 1:3] = 1.0
        mask[6, 0, 4] = 1.0  # a detail that a coarse voxel cannot hold
        prepared = fine.array(mask)
        np.testing.assert_array_equal(fine.back(prepared, mask, prepared) >= 0.5, mask >= 0.5)


def test_resampling_follows_a_model_that_says_something_else():
    grid = Grid((12, 12, 12), np.eye(4))
    fine, mask = Resampled(grid, 1.5), np.zeros(grid.shape, np.float32)
    mask[3:9, 3:9, 3:9] = 1.0
    prepared = fine.array(mask)
    assert fine.back(np.zeros_like(prepared), mask, prepared).max() < 0.5
    assert fine.back(np.ones_like(prepared), mask, prepared).min() >= 0.5


def test_a_click_lands_in_the_coarse_voxel_that_holds_it():
    grid = Grid((30, 20, 10), np.diag([0.7, 0.8, 3.0, 1.0]))
    fine = Resampled(grid, 1.5)
    for voxel in np.ndindex(5, 4, 10):
        there = np.array(fine.point(voxel))
        assert (np.abs(fine.grid.to_world(there) - grid.to_world(voxel)) <= 0.75 + 1e-6).all()
