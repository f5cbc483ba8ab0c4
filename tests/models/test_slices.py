"""Volumes as stacks of pictures."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from atlassegfm.errors import InputError
from atlassegfm.models.slices import (
    SliceOptions,
    Stack,
    box_of,
    centre_at,
    centre_of,
    edges_of,
    middle_slice,
    plane_of,
    slices_of,
)
from atlassegfm.prompts import make_prompt
from atlassegfm.volume import Grid, Volume


def grid_of(spacing, order=None) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = np.diag(spacing) @ (np.eye(3) if order is None else order)
    return Grid((12, 14, 10), affine)


@pytest.mark.parametrize(
    ("spacing", "plane"),
    [((1, 1, 3), "axial"), ((1, 3, 1), "coronal"), ((3, 1, 1), "sagittal"), ((1, 1, 1), "axial")],
)
def test_the_plane_is_the_one_of_the_acquisition_in_every_axis_order(spacing, plane, axis_orders):
    for order in axis_orders:
        assert plane_of(grid_of(spacing, order)) == plane
    assert plane_of(grid_of(spacing), "coronal") == "coronal"
    assert slices_of(grid_of(spacing), SliceOptions(axis="sagittal")) == 12


def test_pictures_are_shown_as_radiologists_see_them():
    """Axial: anterior at the top, the patient's right on the left."""
    grid = grid_of((1, 1, 3))
    data = np.zeros(grid.shape, np.float32)
    data[-1, -1, 4] = 1000.0  # the most rightward and most anterior voxel
    stack = Stack(Volume(data, grid), SliceOptions(window="0:1000"))
    assert "".join(nib.aff2axcodes(stack.axes.grid.affine)) == "SPL"
    assert stack.pictures.dtype == np.uint8
    assert stack.pictures[4, 0, 0] == 255
    assert stack.pictures.sum() == 255


def test_the_middle_slice_and_the_click_are_those_of_the_prompts(axis_orders):
    mask = np.zeros((12, 14, 10), np.float32)
    mask[3:8, 2:9, 4:9] = 1.0
    for order in axis_orders:
        grid = grid_of((1.0, 1.2, 3.0), order)
        stack = Stack(Volume(mask, grid), SliceOptions(window="0:1"))
        flat, shown = make_prompt("box2d", mask, grid, 1), stack.mask(mask)
        number = middle_slice(shown)
        axes = {stack.axes.point(tuple(corner))[0] for corner in np.array([[a for a, _ in flat.box]])}
        assert number in axes
        row, column = centre_of(shown[number], stack.in_plane)
        x0, y0, x1, y1 = box_of(shown[number])
        assert shown[number, y0 : y1 + 1, x0 : x1 + 1].all()
        assert (row, column) == ((y0 + y1) // 2, (x0 + x1) // 2)


def test_edges_fill_a_box_and_centres_lie_in_their_voxel():
    mask = np.zeros((8, 9), bool)
    mask[2:5, 3:8] = True
    assert box_of(mask) == (3, 2, 7, 4)
    assert edges_of(box_of(mask)) == (3.0, 2.0, 8.0, 5.0)
    assert centre_at((3, 2)) == (3.5, 2.5)


def test_bad_options_are_named():
    with pytest.raises(InputError, match="option axis"):
        SliceOptions(axis="oblique")
    with pytest.raises(InputError, match="option window"):
        SliceOptions(window="bright")
