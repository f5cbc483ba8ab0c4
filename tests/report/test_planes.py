from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from atlassegfm.report.planes import PLANES, Anatomical, choose_views, grey_window, picture, scale_bar_mm
from atlassegfm.volume import Grid
from fakes import ball_map


def grids_in_all_orders(axis_orders: list[np.ndarray]) -> list[Grid]:
    out = []
    for matrix in axis_orders:
        affine = np.eye(4)
        affine[:3, :3] = matrix @ np.diag([2.0, 2.5, 3.0])
        affine[:3, 3] = -(affine[:3, :3] @ np.array([20, 18, 15]))
        out.append(Grid((40, 36, 30), affine))
    return out


def test_reorder_gives_ras_whatever_the_file_order(axis_orders):
    for grid in grids_in_all_orders(axis_orders):
        anatomical = Anatomical.of(grid)
        ball = ball_map(grid, {1: (12.0, -10.0, 15.0)})  # right, posterior, superior of the centre
        found = np.argwhere(anatomical.reorder(ball.data) == 1).mean(axis=0)
        middle = (np.array(anatomical.shape) - 1) / 2.0
        assert np.all(np.sign(found - middle) == (1, -1, 1))
        assert np.all(np.diag(anatomical.affine)[:3] > 0)
        assert anatomical.tilt_degrees == pytest.approx(0.0, abs=1e-3)


def test_pictures_follow_the_radiological_convention(axis_orders):
    for grid in grids_in_all_orders(axis_orders):
        anatomical = Anatomical.of(grid)
        # One ball to the right, one in front, one above: each has to lie at the edge that carries its letter.
        world = {"R": (25.0, 0.0, 0.0), "A": (0.0, 25.0, 0.0), "S": (0.0, 0.0, 25.0)}
        for letter, centre in world.items():
            data = anatomical.reorder(ball_map(grid, {1: centre}, 8.0).data) == 1
            for plane in PLANES:
                if letter not in plane.letters:
                    continue
                index = int(np.argwhere(data).mean(axis=0)[plane.normal].round())
                shown = picture(data, plane, index)
                row, column = np.argwhere(shown).mean(axis=0) / np.array(shown.shape)
                left, _, top, _ = plane.letters
                assert column < 0.45 if letter == left else row < 0.45
                assert letter in (left, top)


def test_position_is_the_world_coordinate(axis_orders):
    for grid in grids_in_all_orders(axis_orders):
        anatomical = Anatomical.of(grid)
        ras = nib.orientations.aff2axcodes(anatomical.affine)
        assert ras == ("R", "A", "S")
        z = float(anatomical.affine[2] @ [0, 0, 3, 1])
        assert anatomical.position(2, 3) == f"{'S' if z >= 0 else 'I'} {abs(z):.1f} mm"


def test_views_go_through_the_largest_extent():
    mask = np.zeros((30, 30, 30), bool)
    mask[10:13, 10:13, 5:20] = True
    mask[8:16, 9:15, 12] = True
    axial, coronal, sagittal = choose_views(mask, np.array([2.0, 2.0, 2.0]))
    assert axial.index == 12
    assert mask[:, coronal.index].any()
    assert mask[sagittal.index].any()
    assert axial.side_mm >= 40.0
    # The window's middle is the label's middle, counted from the picture's own corner.
    assert axial.centre_mm == (pytest.approx((30 - 12) * 2.0), pytest.approx((30 - 12) * 2.0))


def test_window_ignores_air_and_far_metal():
    data = np.zeros((40, 40, 40), np.float32)
    data[5:35, 5:35, 5:35] = np.random.default_rng(0).normal(100, 5, (30, 30, 30))
    data[5:8, 5:8, 5:8] = 4000
    mask = np.zeros(data.shape, bool)
    mask[18:24, 18:24, 18:24] = True
    low, high = grey_window(data, mask, np.array([5.0, 5.0, 5.0]))
    assert 60 < low < 95
    assert 105 < high < 140


def test_window_of_a_flat_region_is_not_empty():
    data = np.full((10, 10, 10), 7.0, np.float32)
    low, high = grey_window(data, np.ones(data.shape, bool), np.ones(3))
    assert high > low


@pytest.mark.parametrize(("side", "bar"), [(40, 10), (65, 20), (200, 50), (700, 200)])
def test_scale_bar_is_round(side, bar):
    assert scale_bar_mm(side) == bar
