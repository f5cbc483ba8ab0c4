from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlassegfm.errors import GeometryError
from atlassegfm.volume import GRID_TOLERANCE_MM, Grid, Volume, bounding_box

VOXEL_TOLERANCE = 1e-9

numbers = st.floats(-3, 3, allow_nan=False)


@st.composite
def affines(draw):
    rows = [[draw(numbers) for _ in range(3)] for _ in range(3)]
    affine = np.eye(4)
    affine[:3, :3] = np.array(rows) + 12 * np.eye(3)  # diagonally dominant: invertible
    affine[:3, 3] = [100 * draw(numbers) for _ in range(3)]
    return affine


@given(affines(), st.tuples(*[st.floats(-50, 50)] * 3))
def test_world_and_voxel_coordinates_undo_each_other(affine, ijk):
    grid = Grid((4, 5, 6), affine)
    assert np.allclose(grid.to_voxel(grid.to_world(ijk)), ijk, atol=VOXEL_TOLERANCE)


def test_world_coordinates_known_answer():
    grid = Grid((2, 2, 2), np.array([[0, -2, 0, 10], [3, 0, 0, 20], [0, 0, 4, 30], [0, 0, 0, 1.0]]))
    assert grid.to_world((1, 1, 1)).tolist() == [8, 23, 34]
    assert grid.spacing.tolist() == [3, 2, 4]
    assert grid.voxel_volume_ml == pytest.approx(0.024)
    assert grid.voxel_edge_mm == pytest.approx(24 ** (1 / 3))
    assert grid.extent_mm.tolist() == [6, 4, 8]
    assert grid.centre.tolist() == [9, 21.5, 32]
    assert grid.size == 8


def test_points_keep_their_leading_axes(oblique_grid):
    assert oblique_grid.to_world(np.zeros((5, 4, 3))).shape == (5, 4, 3)


def test_corners_are_the_outermost_voxel_centres(oblique_grid):
    corners = oblique_grid.corners
    assert corners.shape == (8, 3)
    assert np.allclose(oblique_grid.to_voxel(corners).max(axis=0), np.array(oblique_grid.shape) - 1)


def test_grids_match_within_the_tolerance_only(oblique_grid):
    near, far = oblique_grid.affine.copy(), oblique_grid.affine.copy()
    near[0, 3] += GRID_TOLERANCE_MM / 2
    far[0, 3] += GRID_TOLERANCE_MM * 2
    assert oblique_grid.matches(Grid(oblique_grid.shape, near))
    assert not oblique_grid.matches(Grid(oblique_grid.shape, far))
    assert oblique_grid.matches(Grid(oblique_grid.shape, far), tolerance_mm=0.01)
    assert not oblique_grid.matches(Grid((12, 11, 8), oblique_grid.affine))


def test_cropped_grid_keeps_world_positions(oblique_grid):
    cropped = oblique_grid.cropped((slice(2, 6), slice(1, 9), slice(3, 7)))
    assert cropped.shape == (4, 8, 4)
    assert np.allclose(cropped.to_world((0, 0, 0)), oblique_grid.to_world((2, 1, 3)))


@given(st.tuples(*[st.floats(0.5, 9)] * 3))
def test_with_spacing_covers_the_same_field_of_view(spacing):
    grid = Grid((12, 11, 7), np.diag([-1.5, 1.25, 3.0, 1.0]))
    other = grid.with_spacing(spacing)
    assert np.allclose(other.spacing, spacing)
    assert np.allclose(other.centre, grid.centre)
    assert (other.extent_mm >= grid.extent_mm - 1e-4).all()
    assert (other.extent_mm < grid.extent_mm + spacing).all()


@pytest.mark.parametrize(
    ("shape", "affine", "word"),
    [
        ((4, 5), np.eye(4), "3D"),
        ((4, 5, 0), np.eye(4), "at least one"),
        ((4, 5, 6), np.eye(3), "4x4"),
        ((4, 5, 6), np.diag([1, 1, np.nan, 1]), "finite"),
        ((4, 5, 6), np.diag([1, 1, 0, 1.0]), "inverted"),
        ((4, 5, 6), np.diag([1, 1, 1, 2.0]), "last row"),
    ],
)
def test_unusable_grids_are_refused(shape, affine, word):
    with pytest.raises(GeometryError, match=word):
        Grid(shape, affine)


def test_the_affine_of_a_grid_is_its_own_and_read_only():
    affine = np.eye(4)
    grid = Grid((2, 2, 2), affine)
    affine[0, 0] = 7
    assert grid.affine[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 7


def test_volume_refuses_data_of_another_shape(oblique_grid):
    with pytest.raises(GeometryError, match="shape"):
        Volume(np.zeros((2, 2, 2)), oblique_grid)


def test_labels_that_are_kept_stay_as_they_are(oblique_grid):
    data = (np.arange(np.prod(oblique_grid.shape)) % 5).reshape(oblique_grid.shape).astype(np.uint16)
    kept = Volume(data, oblique_grid).keeping([1, 4, 9])
    assert kept.data.dtype == np.uint16
    np.testing.assert_array_equal(kept.data, np.where((data == 1) | (data == 4), data, 0))


def test_with_data_keeps_grid_and_file_facts(oblique_grid):
    volume = Volume(np.zeros(oblique_grid.shape), oblique_grid, {"format": "nifti"})
    other = volume.with_data(np.ones(oblique_grid.shape))
    assert other.grid is oblique_grid
    assert other.meta["format"] == "nifti"
    assert other.data.min() == 1


def test_bounding_box_known_answers():
    mask = np.zeros((5, 6, 7), dtype=bool)
    assert bounding_box(mask) is None
    mask[1, 2, 3] = mask[3, 2, 6] = True
    assert bounding_box(mask) == (slice(1, 4), slice(2, 3), slice(3, 7))
    assert bounding_box(mask, margin=1) == (slice(0, 5), slice(1, 4), slice(2, 7))
    assert bounding_box(mask, margin=(0, 9, 0)) == (slice(1, 4), slice(0, 6), slice(3, 7))
