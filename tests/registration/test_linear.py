"""Rigid and affine registration recover known motions, and never make things worse."""

from __future__ import annotations

import numpy as np
import pytest

from atlassegfm.registration.grids import working_copy
from atlassegfm.registration.initialise import Start
from atlassegfm.registration.linear import Fit, LinearProblem, affine_candidates, optimise
from atlassegfm.registration.registry import register
from atlassegfm.registration.result import Settings
from atlassegfm.volume import Volume

from .phantoms import apply, body_points, grid_of, moving_of, rigid, scan
from .test_initialise import scaled

POINTS = body_points()


def shape_change() -> np.ndarray:
    """Scale, shear, turn, shift."""
    matrix = rigid("z", 8) @ rigid("y", -6)
    matrix[:3, :3] = matrix[:3, :3] @ np.array([[1.10, 0.06, 0.0], [0.0, 0.92, -0.05], [0.0, 0.0, 1.06]])
    matrix[:3, 3] = 12, -9, 7
    return matrix


def error_mm(matrix: np.ndarray, truth: np.ndarray) -> float:
    return float(np.linalg.norm(apply(matrix, POINTS) - apply(truth, POINTS), axis=1).mean())


def solve(fixed: Volume, moving: Volume, dof: int, *starts: np.ndarray) -> Fit:
    """As the registration methods do it: every start on a coarse level, the best one on a fine level."""
    given = [Start(start, 0.0) for start in starts or (np.eye(4),)]
    fits = affine_candidates(working_copy(fixed, 8.0), working_copy(moving, 8.0), given, dof=dof)
    assert [fit.score for fit in fits] == sorted((fit.score for fit in fits), reverse=True)
    return optimise(LinearProblem(working_copy(fixed, 4.0), working_copy(moving, 4.0)), fits[0].matrix, dof)


@pytest.fixture(scope="module")
def fixed() -> Volume:
    return scaled(scan(grid_of((4, 4, 4))))


@pytest.fixture(scope="module")
def affine_pair(fixed) -> tuple[Volume, Volume, np.ndarray]:
    grid = grid_of((4.5, 3.5, 4), (150, 130, 140), turn_deg=(5, -10, 20), flips=(-1, 1, 1), centre=(12, -9, 7))
    return fixed, scaled(moving_of(grid, shape_change())), shape_change()


def test_affine_is_recovered_on_an_oblique_grid(affine_pair):
    fixed, moving, truth = affine_pair
    rigid_fit, affine_fit = (solve(fixed, moving, dof) for dof in (6, 12))
    assert error_mm(affine_fit.matrix, truth) < 1.0
    assert error_mm(affine_fit.matrix, truth) < 0.4 * error_mm(rigid_fit.matrix, truth)
    np.testing.assert_allclose(np.linalg.svd(rigid_fit.matrix[:3, :3])[1], 1.0, atol=1e-6)
    assert np.linalg.det(rigid_fit.matrix[:3, :3]) > 0


@pytest.mark.parametrize("axis", "xyz")
def test_rigid_from_15_degrees_away(fixed, axis):
    truth = rigid(axis, 15, (8, -6, 5))
    moving = scaled(moving_of(grid_of((4, 4, 4), centre=(8, -6, 5)), truth))
    fit = solve(fixed, moving, 6)
    assert error_mm(fit.matrix, truth) < 1.5


def test_the_best_of_several_starts_wins(fixed):
    truth = rigid("z", 0, (60, 0, 0))
    moving = scaled(moving_of(grid_of((8, 8, 8), centre=(60, 0, 0)), truth))
    fit = solve(fixed, moving, 6, rigid("x", 30, (100, 10, 0)), rigid("z", 5, (55, 3, 0)))
    assert error_mm(fit.matrix, truth) < 3.0


def test_starts_that_meet_or_see_nothing_are_one_candidate(fixed):
    coarse = working_copy(fixed, 8.0)
    starts = [Start(m, 0.0) for m in (np.eye(4), rigid("z", 2), rigid("x", 0, (900, 0, 0)))]
    fits = affine_candidates(coarse, coarse, starts)
    assert len(fits) == 1
    assert affine_candidates(coarse, coarse, starts[2:]) == []


@pytest.mark.parametrize("dof", [6, 12])
def test_optimise_never_loses(affine_pair, dof):
    fixed, moving, _ = affine_pair
    problem = LinearProblem(working_copy(fixed, 8.0), working_copy(moving, 8.0))
    for start in (np.eye(4), rigid("x", 25, (20, 0, 0)), rigid("z", -20, (0, 0, -30))):
        before = problem.score(problem.sampled(start))
        assert optimise(problem, start, dof).score >= before


def test_no_overlap_is_the_lowest_score(fixed):
    problem = LinearProblem(working_copy(fixed, 8.0), working_copy(fixed, 8.0))
    away = rigid("z", 0, (500, 0, 0))
    fit = optimise(problem, away, 12)
    assert fit.score == -1.0
    np.testing.assert_array_equal(fit.matrix, away)


def test_gain_offset_and_bias_of_the_scanner_do_not_matter(fixed):
    truth = rigid("z", 6, (5, 4, -3))
    moving = moving_of(grid_of((4, 4, 4)), truth)
    ramp = np.linspace(0.8, 1.25, moving.grid.shape[0], dtype=np.float32)[:, None, None]
    other = scaled(moving.with_data(moving.data * ramp * 7 + 300))
    fit = solve(fixed, other, 6)
    assert error_mm(fit.matrix, truth) < 1.5


def test_half_of_the_field_of_view(fixed):
    truth = rigid("y", 7, (6, -5, 4))
    moving = scaled(moving_of(grid_of((4, 4, 4)), truth))
    box = (slice(0, moving.grid.shape[0]), slice(0, moving.grid.shape[1]), slice(0, moving.grid.shape[2] // 2))
    part = Volume(moving.data[box], moving.grid.cropped(box))
    fit = solve(fixed, part, 6)
    seen = part.grid.to_voxel(apply(truth, POINTS))
    seen = ((seen > 0) & (seen < np.array(part.grid.shape) - 1)).all(-1)
    error = np.linalg.norm(apply(fit.matrix, POINTS[seen]) - apply(truth, POINTS[seen]), axis=1).mean()
    assert error < 2.0


def test_same_input_same_bytes(affine_pair):
    fixed, moving, _ = affine_pair
    runs = [solve(fixed, moving, 12).matrix.tobytes() for _ in range(2)]
    assert runs[0] == runs[1]


@pytest.mark.parametrize(
    ("truth", "crop"),
    [
        (rigid("x", 30), None),
        (rigid("y", -30), None),
        (rigid("z", 30), None),
        (rigid("z", 0, (100, 0, -100)), None),
        (np.eye(4), 0),
        (np.eye(4), 1),
        (np.eye(4), 2),
    ],
    ids=["x 30", "y -30", "z 30", "100 mm", "half along i", "half along j", "half along k"],
)
def test_the_affine_method_from_any_start(truth, crop):
    fixed = scan(grid_of((6, 6, 6)))
    moving = moving_of(grid_of((6, 6, 6), centre=tuple(truth[:3, 3])), truth)
    if crop is not None:
        box = [slice(0, n) for n in moving.grid.shape]
        box[crop] = slice(0, moving.grid.shape[crop] // 2)
        moving = Volume(moving.data[tuple(box)], moving.grid.cropped(box))
    found = register(fixed, moving, "affine", Settings()).transform
    seen = moving.grid.to_voxel(apply(truth, POINTS))
    seen = POINTS[((seen > 0) & (seen < np.array(moving.grid.shape) - 1)).all(-1)]
    assert np.linalg.norm(found(seen) - apply(truth, seen), axis=1).mean() < 3.0  # half a voxel
