"""Labels' surroundings are alike where the labels belong, and unlike where they do not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from atlassegfm.registration.focus import Focus
from atlassegfm.registration.grids import working_copy
from atlassegfm.registration.mind import mind_ssc
from atlassegfm.registration.surroundings import COARSER, MOST_UNLIKE, VOXELS, Surroundings
from sliding import GRID, SLID, label, organ, scan

CPU = torch.device("cpu")
STILL = np.eye(4)


def shifted(mm):
    """Fixed to moving world points."""
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return matrix


def around(fixed, moving=None, *, on_fixed=False):
    pair = fixed, scan() if moving is None else moving
    return Surroundings.of_focus(pair, Focus.of(label(), on_fixed=on_fixed), CPU)


def unlike(surroundings, matrix):
    grid = working_copy(surroundings.fixed, 8.0).grid
    return surroundings.unlikeness_of(matrix, torch.zeros(3, *grid.shape), grid)


@pytest.mark.parametrize("on_fixed", [False, True])
def test_the_right_place_is_the_least_unlike(on_fixed):
    there = around(scan(SLID, seed=8)) if not on_fixed else around(scan(), scan(SLID, seed=8), on_fixed=True)
    # The organ slid in the fixed image, or in the moving one.
    home = shifted(SLID if on_fixed else -SLID)
    found = unlike(there, home)
    for wrong in (STILL, np.linalg.inv(home), shifted((12.0, 0.0, 0.0)), shifted((0.0, 0.0, -16.0))):
        assert unlike(there, wrong) > 1.3 * found


def test_a_displacement_counts_like_a_shift():
    there = around(scan(SLID, seed=8))
    grid = working_copy(there.fixed, 8.0).grid
    moved = torch.as_tensor(np.full((3, *grid.shape), (-SLID / 8.0)[:, None, None, None], np.float32))
    assert there.unlikeness_of(STILL, moved, grid) == pytest.approx(unlike(there, shifted(-SLID)), rel=1e-4)


@pytest.mark.parametrize("on_fixed", [False, True])
def test_where_nothing_is_left_of_the_label_it_is_most_unlike(on_fixed):
    there = around(scan(), on_fixed=on_fixed)
    assert unlike(there, shifted((1000.0, 0.0, 0.0))) == MOST_UNLIKE
    zero = torch.zeros(3, *there.fixed.grid.shape)
    value, mask = there.unlikeness(shifted((1000.0, 0.0, 0.0)), zero, 2.0)
    assert value == np.inf
    assert not mask.any()


def test_the_same_images_are_not_unlike():
    assert unlike(around(scan()), STILL) < 1e-6


def test_only_what_is_near_counts():
    """A body that differs far from the label."""
    other = scan()
    other.data[:, :, :8] = 1.0 - other.data[:, :, :8]
    there, zero = around(other), torch.zeros(3, *around(other).fixed.grid.shape)
    assert unlike(there, STILL) < 1e-6
    assert there.unlikeness(STILL, zero, 100.0)[0] > 0.001


def test_voxels_are_as_large_as_the_label_and_the_images_say():
    spacing = float(GRID.spacing[0])
    small = around(scan())
    assert small.fixed.spacing[0] == pytest.approx(COARSER * spacing, rel=0.05)
    large = Surroundings.of_focus((scan(), scan()), Focus.of(label().with_data(np.ones(GRID.shape, np.uint8))), CPU)
    assert large.moving.spacing[0] == pytest.approx(max(GRID.extent_mm) / VOXELS, rel=0.05)


def test_how_much_of_a_label_is_kept():
    assert around(scan()).kept > 0.8
    thin = label()
    thin.data[:, :27] = 0
    thin.data[:, 28:] = 0
    assert Surroundings.of(scan(), scan(), thin.with_data(thin.data.astype(np.float32)), 6.0, CPU).kept < 0.5


def test_a_cut_keeps_what_lies_around_the_points():
    there = around(scan())
    points = GRID.to_world(np.argwhere(organ()))
    part = there.cut(points, 2.0)
    assert part.fixed.grid.size < 0.3 * there.fixed.grid.size
    at = part.fixed.grid.to_voxel(points)
    assert (at > 0).all()
    assert (at < np.array(part.fixed.grid.shape) - 1).all()
    assert part.moving is there.moving


def test_features_are_those_of_the_fixed_image_it_has_now():
    there = around(scan(SLID))
    part = replace(there, fixed=scan())
    assert torch.equal(there.features, mind_ssc(torch.as_tensor(there.fixed.data)))
    assert torch.equal(part.features, mind_ssc(torch.as_tensor(part.fixed.data)))
