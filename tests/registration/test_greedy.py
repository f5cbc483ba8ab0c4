"""Greedy's directions and conventions, by phantoms with known motion."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from atlassegfm.errors import MissingExtraError, RegistrationError
from atlassegfm.registration.registry import register
from atlassegfm.registration.result import Settings
from atlassegfm.resampling import resample_labels
from atlassegfm.volume import Grid, Volume

from .phantoms import apply, body_points, grid_of, label_map, moving_of, rigid, scan, undo, waves

FIXED_GRID = grid_of((4, 3.5, 5), turn_deg=(5, -8, 20), flips=(-1, 1, 1), centre=(30, -20, 10), order=(2, 0, 1))
MOVING_GRID = grid_of((5, 4, 3.5), turn_deg=(-10, 4, 0), flips=(-1, -1, 1), centre=(-40, 15, 60))


def pose(matrix: np.ndarray):
    """World to body: the body sits in the world as `matrix` says."""
    return lambda p: apply(np.linalg.inv(matrix), p)


@pytest.fixture(scope="module")
def greedy():
    pytest.importorskip("picsl_greedy")


@pytest.fixture(scope="module")
def warped_pair():
    """Fixed and moving scan of one body in two poses, the moving one deformed too; and the true map."""
    in_fixed, in_moving = rigid("z", 12, (30, -20, 10)), rigid("x", -9, (-40, 15, 60))
    wave = waves(4.0, 90.0)
    fixed = scan(FIXED_GRID, pose(in_fixed))
    moving = scan(MOVING_GRID, lambda p: undo(wave, apply(np.linalg.inv(in_moving), p)), seed=1)

    def truth(points: np.ndarray) -> np.ndarray:
        body = apply(np.linalg.inv(in_fixed), points)
        return apply(in_moving, body + wave(body))

    return fixed, moving, truth, in_fixed


def test_known_motion_and_warp_are_recovered_on_oblique_grids(greedy, warped_pair):
    fixed, moving, truth, in_fixed = warped_pair
    result = register(fixed, moving, "greedy", Settings())
    points = apply(in_fixed, body_points())
    error = np.linalg.norm(result.transform(points) - truth(points), axis=1)
    before = np.linalg.norm(result.transform.linear_part()(points) - truth(points), axis=1)
    assert error.mean() < 1.8  # half a voxel; measured 1.35 (affine alone 5.5)
    assert error.mean() < 0.4 * before.mean()
    assert set(result.seconds) == {"rigid", "affine", "deformable"}
    assert result.metrics["ncc_after"] > result.metrics["ncc_before"]


def test_labels_land_on_labels(greedy):
    truth = rigid("y", 10, (20, 10, -15))
    fixed, moving = scan(grid_of()), moving_of(grid_of(centre=(20, 10, -15)), truth)
    labels = label_map(moving.grid, lambda p: apply(np.linalg.inv(truth), p))
    result = register(fixed, moving, "greedy", Settings())
    warped, wanted = resample_labels(labels, fixed.grid, result.transform).data, label_map(fixed.grid).data
    for value in range(1, 5):
        a, b = warped == value, wanted == value
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.9


def test_a_tilted_gantry_is_taken(greedy):
    grid = grid_of((5, 5, 5))
    affine = grid.affine.copy()
    affine[:3, 2] += 0.25 * affine[:3, 1]
    truth = rigid("z", 5, (6, 0, 4))
    fixed, moving = scan(Grid(grid.shape, affine)), moving_of(grid_of((5, 5, 5)), truth)
    points = body_points()
    result = register(fixed, moving, "greedy", Settings())
    assert np.linalg.norm(result.transform(points) - apply(truth, points), axis=1).mean() < 2.5


def test_same_seed_same_bytes(greedy, warped_pair):
    fixed, moving, *_ = warped_pair
    first, second = (register(fixed, moving, "greedy", Settings(seed=3)).transform for _ in range(2))
    assert first.stages[0].vectors.tobytes() == second.stages[0].vectors.tobytes()
    assert first.matrix.tobytes() == second.matrix.tobytes()


def test_prints_nothing_and_tells_progress(greedy, capfd):
    told = []
    fixed = scan(grid_of((6, 6, 6)))
    moving = moving_of(grid_of((6, 6, 6)), rigid("z", 3, (4, 0, 0)))
    register(fixed, moving, "greedy", Settings(progress=lambda step, fraction: told.append((step, fraction))))
    sys.stdout.flush()
    assert capfd.readouterr() == ("", "")
    assert [step for step, _ in told[:3]] == ["greedy: rigid", "greedy: affine", "greedy: deformable"]
    assert told[-1][1] == 1.0


def test_output_comes_back_after_a_failure(greedy, capfd):
    fixed = scan(grid_of((6, 6, 6)))
    flat = Volume(np.zeros(fixed.grid.shape, np.float32), fixed.grid)
    with pytest.raises(RegistrationError, match="constant"):
        register(fixed, flat, "greedy", Settings())
    print("still here", flush=True)
    assert "still here" in capfd.readouterr().out


def test_what_greedy_refuses_is_one_line(greedy, monkeypatch):
    from atlassegfm.registration import greedy as adapter

    monkeypatch.setitem(adapter.STAGES, "rigid", "-a -no-such-option")
    fixed = scan(grid_of((8, 8, 8)))
    with pytest.raises(RegistrationError, match="greedy failed in its rigid step") as caught:
        register(fixed, fixed, "greedy", Settings())
    assert "\n" not in str(caught.value)


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "picsl_greedy", None)
    fixed = scan(grid_of((8, 8, 8)))
    with pytest.raises(MissingExtraError, match=r"atlassegfm\[greedy\]"):
        register(fixed, fixed, "greedy", Settings())
