"""The start search finds any pose: shifts, turns, crops, other axes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from atlassegfm.registration import initialise
from atlassegfm.registration.initialise import PART_VOXELS, StartSearch, _Correlator
from atlassegfm.volume import Grid, Volume

from .phantoms import apply, body_points, grid_of, moving_of, rigid, scan

POINTS = body_points(15.0)
#: Mean distance in mm within which the linear step finds its way.
CAPTURE_MM = 16.0


def scaled(image: Volume) -> Volume:
    low, high = np.percentile(image.data, (0.5, 99.5))
    return image.with_data(np.clip((image.data - low) / (high - low), 0, 1).astype(np.float32))


@pytest.fixture(scope="module")
def fixed() -> Volume:
    return scaled(scan(grid_of((5, 5, 5))))


def best_error(fixed: Volume, moving: Volume, truth: np.ndarray, keep: int = 4) -> float:
    starts = StartSearch(fixed, scaled(moving)).starts(keep)
    assert len(starts) == keep
    assert [s.score for s in starts] == sorted((s.score for s in starts), reverse=True)
    return min(np.linalg.norm(apply(s.matrix, POINTS) - apply(truth, POINTS), axis=1).mean() for s in starts)


@pytest.mark.parametrize("shift", [(100, 0, 0), (0, -100, 100)])
def test_shifts_of_100_mm(fixed, shift):
    # The image stays around the origin although the body has moved: as after a wrong header.
    truth = rigid("z", 0, shift)
    moving = moving_of(grid_of((5, 5, 5), centre=shift), truth)
    assert best_error(fixed, moving, truth) < 7.0


@pytest.mark.parametrize(("axis", "angle"), [("x", -30), ("y", 30), ("z", -30)])
def test_turns_of_30_degrees(fixed, axis, angle):
    truth = rigid(axis, angle)
    assert best_error(fixed, moving_of(grid_of((5, 5, 5)), truth), truth) < CAPTURE_MM


@pytest.mark.parametrize(("axis", "angle"), [("x", 45), ("y", -40)])
def test_turns_beyond_the_poses(fixed, axis, angle, monkeypatch):
    """They are looked at once more from the best of them."""
    truth = rigid(axis, angle)
    moving = moving_of(grid_of((5, 5, 5)), truth)
    found = best_error(fixed, moving, truth)
    assert found < 0.5 * CAPTURE_MM
    monkeypatch.setattr(initialise, "ROUNDS", 0)
    assert best_error(fixed, moving, truth) > 1.5 * found


@pytest.mark.parametrize(("axis", "upper"), [(0, False), (1, True), (2, False)])
def test_half_of_the_moving_image(fixed, axis, upper):
    moving = moving_of(grid_of((5, 5, 5)), np.eye(4))
    box = [slice(0, n) for n in moving.grid.shape]
    half = moving.grid.shape[axis] // 2
    box[axis] = slice(half, moving.grid.shape[axis]) if upper else slice(0, half)
    part = Volume(moving.data[tuple(box)], moving.grid.cropped(box))
    assert best_error(fixed, part, np.eye(4)) < CAPTURE_MM


def test_half_of_the_fixed_image(fixed):
    box = (slice(0, fixed.grid.shape[0]), slice(0, fixed.grid.shape[1]), slice(0, fixed.grid.shape[2] // 2))
    part = Volume(fixed.data[box], fixed.grid.cropped(box))
    truth = rigid("z", 0, (50, 20, -30))
    assert best_error(part, moving_of(grid_of((5, 5, 5), centre=(50, 20, -30)), truth), truth) < CAPTURE_MM


def test_axis_orders_and_flips_do_not_matter(fixed):
    truth = rigid("z", 15, (30, -20, 10))
    grid = grid_of((6, 4, 5), flips=(-1, 1, -1), order=(2, 0, 1), centre=(30, -20, 10), turn_deg=(0, 0, 40))
    assert best_error(fixed, moving_of(grid, truth), truth) < CAPTURE_MM


def test_a_size_of_15_percent(fixed):
    truth = np.diag([1.15, 1.15, 1.15, 1.0])
    moving = moving_of(grid_of((5, 5, 5), (150, 130, 140)), truth)
    assert best_error(fixed, moving, truth) < 10.0


def test_scores_are_a_correlation(fixed):
    start = StartSearch(fixed, fixed).starts(1)[0]
    assert 0.9 < start.score <= 1.0 + 1e-6
    np.testing.assert_allclose(apply(start.matrix, POINTS), POINTS, atol=5.1)


def test_images_without_anything_in_common_score_low(fixed):
    noise = np.random.default_rng(0).uniform(size=fixed.grid.shape).astype(np.float32)
    assert StartSearch(fixed, Volume(noise, fixed.grid)).starts(1)[0].score < 0.3


def test_one_slice_thick_images_are_taken():
    thin = scaled(scan(grid_of((5, 5, 5), (132, 112, 10))))
    assert isinstance(thin.grid, Grid)
    assert len(StartSearch(thin, thin).starts(3)) == 3


@pytest.mark.parametrize(
    ("axis", "angle", "lies"), [("z", 0, False), ("x", 25, False), ("z", 180, True), ("x", 90, True)]
)
def test_a_turn_by_right_angles_fits_better_only_where_the_header_lies(fixed, axis, angle, lies):
    moving = moving_of(grid_of((5, 5, 5)), np.eye(4))
    motion = rigid(axis, angle)
    lying = Volume(moving.data, Grid(moving.grid.shape, motion @ moving.affine))
    assert StartSearch(fixed, lying).turned_fits_better is lies


@pytest.mark.parametrize("size", [(6, 7, 5), (20, 9, 24)])
@pytest.mark.parametrize("at", list(itertools.product((0.0, 1.0), repeat=3)))
def test_every_shift_is_found_whichever_image_is_larger(size, at):
    rng = np.random.default_rng(1)
    moving = rng.random((18, 20, 16)).astype(np.float32)
    corner = [round(a * (n - s)) for a, n, s in zip(at, moving.shape, size, strict=True)]
    if any(c < 0 for c in corner):
        # Then the fixed image surrounds the moving one along that axis: noise fills it up.
        around = rng.random([max(n, s) for n, s in zip(moving.shape, size, strict=True)]).astype(np.float32)
        offset = [max(0, -c) for c in corner]
        around[tuple(slice(o, o + n) for o, n in zip(offset, moving.shape, strict=True))] = moving
        low = [c + o for c, o in zip(corner, offset, strict=True)]
        fixed = around[tuple(slice(a, a + s) for a, s in zip(low, size, strict=True))]
    else:
        fixed = moving[tuple(slice(c, c + s) for c, s in zip(corner, size, strict=True))]
    mask = np.ones_like(moving)
    score, shift = _Correlator(fixed, np.array(moving.shape)).best(moving, mask)
    assert shift.tolist() == corner
    assert score > 0.5


def test_voxels_for_parts_find_where_a_part_lies(fixed):
    at = np.array([-20.0, 15.0, 10.0])
    part = scaled(moving_of(grid_of((5, 5, 5), (60, 60, 60), centre=at), np.eye(4)))
    start = StartSearch(fixed, part, PART_VOXELS).starts(1)[0]
    assert np.linalg.norm(apply(start.matrix, at[None]) - at) < 5.0
