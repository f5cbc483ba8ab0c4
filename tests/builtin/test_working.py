"""Working copies."""

import numpy as np
import pytest

from atlassegfm.builtin.working import MOST_VOXELS, WorkingCopy, working_spacing
from atlassegfm.volume import Grid, Volume, bounding_box

#: Axes permuted, one flipped, anisotropic, rotated by 20 degrees about one axis.
C, S = np.cos(np.radians(20)), np.sin(np.radians(20))
ODD = np.array([[0, C, -S, 11.0], [-1, 0, 0, 80.0], [0, S, C, -7.0], [0, 0, 0, 1]]) @ np.diag([1.5, 1.2, 4.0, 1])
AFFINES = {"plain": np.diag([1.5, 1.2, 4.0, 1.0]), "odd": ODD}


def test_spacing_has_the_volume_of_a_native_voxel_or_bounds_the_size():
    assert working_spacing(Grid((34, 51, 32), np.eye(4))) == 1.0
    assert working_spacing(Grid((200, 200, 30), np.diag([1.0, 1.0, 8.0, 1.0]))) == 2.0
    large = Grid((512, 512, 400), np.diag([0.8, 0.8, 1.0, 1.0]))
    assert 0.9 * MOST_VOXELS < np.prod(large.extent_mm) / working_spacing(large) ** 3 < 1.1 * MOST_VOXELS


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_there_and_back_stays_in_place(affine):
    grid = Grid((70, 80, 26), affine)
    world = grid.to_world(np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), axis=-1))
    ball = np.linalg.norm(world - grid.centre - 5.0, axis=-1) < 18.0
    working = WorkingCopy.around(Volume(world[..., 0].astype(np.float32), grid), ball, 2.0)
    labels = working.labels(ball.astype(np.uint8))
    np.testing.assert_allclose(working.image.spacing, 2.0)
    # Image and labels show the same places.
    copied = working.image.grid.to_world(np.argwhere(labels))
    np.testing.assert_allclose(working.image.data[labels > 0], copied[:, 0], atol=0.1)
    box = bounding_box(labels > 0, margin=3)
    back = working.probability(np.where(labels[box], 4.0, -4.0).astype(np.float32), box)
    assert back.shape == grid.shape
    assert back.dtype == np.float32
    overlap = 2 * np.count_nonzero((back > 0.5) & ball) / (np.count_nonzero(back > 0.5) + np.count_nonzero(ball))
    assert overlap > 0.95
    assert back[0].max() == 0.0


def test_a_copy_knows_what_it_is_around():
    grid = Grid((120, 60, 60), np.eye(4))
    seen = np.zeros(grid.shape, bool)
    seen[50:60, 20:30, 20:30] = True
    working = WorkingCopy.around(Volume(np.zeros(grid.shape, np.float32), grid), seen, 1.0)
    assert working.is_around(seen)
    assert not working.is_around(np.roll(seen, 60, axis=0))
    # A part of it would make a smaller copy.
    smaller = seen.copy()
    smaller[:54] = False
    assert not working.is_around(smaller)
    assert WorkingCopy.around(Volume(np.zeros(grid.shape, np.float32), grid), np.zeros_like(seen), 1.0) is None
