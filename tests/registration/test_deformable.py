"""The deformable step: exact gradient, known warps recovered, no folds, the same bytes every time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from atlassegfm.overlap import dice
from atlassegfm.registration.deformable import (
    MAX_APART,
    RETRY_APART,
    register_deformable,
    try_candidates,
)
from atlassegfm.registration.discrete import DiscreteSearch
from atlassegfm.registration.grids import working_copy
from atlassegfm.registration.knobs import DeformableSettings
from atlassegfm.registration.linear import Fit
from atlassegfm.registration.measures import jacobian_determinant
from atlassegfm.registration.transform import Affine, Transform
from atlassegfm.resampling import resample_labels
from atlassegfm.volume import Grid, Volume

from .phantoms import PARTS, body_points, grid_of, label_map, rigid, scan, undo, waves, world
from .test_initialise import scaled

CPU = torch.device("cpu")
SPACING = 4.0
KNOBS = DeformableSettings(factors=(2, 1), iterations=(60, 40))


def levels_of(fixed, moving, factors=KNOBS.factors):
    return [(working_copy(fixed, SPACING * n), working_copy(moving, SPACING * n)) for n in factors]


def solve(levels, matrix, knobs, tick=lambda fraction: None):
    """One affine start through all levels."""
    start = try_candidates(*levels[0], [Fit(matrix, 0.0)], knobs, CPU)[0]
    return register_deformable(levels, start, knobs, CPU, tick=tick)


def carried_dice(labels, grid, transform):
    """Mean Dice of the parts as the transform carries them."""
    found, wanted = resample_labels(labels, grid, transform).data, label_map(grid).data
    return np.mean([dice(found == v, wanted == v) for v in range(1, 5)])


@pytest.fixture(scope="module")
def warped():
    """A fixed scan, a moving one in another pose that is bent too, the pose, and the true map."""
    pose, wave = rigid("z", 10, (15, -10, 8)), waves(4.5, 100.0)
    back = np.linalg.inv(pose)
    fixed = scan(grid_of((4, 3, 5), turn_deg=(8, -6, 15), flips=(-1, 1, 1), order=(1, 0, 2)))

    def to_body(p):
        return undo(wave, p @ back[:3, :3].T + back[:3, 3])

    grid = grid_of((3.5, 4.5, 4), centre=(15, -10, 8), turn_deg=(0, 5, 0))
    moving, labels = scan(grid, to_body, seed=1), label_map(grid, to_body)
    return scaled(fixed), scaled(moving), pose, labels, lambda p: (p + wave(p)) @ pose[:3, :3].T + pose[:3, 3]


@pytest.fixture(scope="module")
def solved(warped):
    fixed, moving, pose, *_ = warped
    bent = solve(levels_of(fixed, moving), pose, KNOBS)
    return Transform((bent.field, Affine(pose))), bent.history


def test_a_known_warp_is_recovered_without_folds(warped, solved):
    fixed, *_, truth = warped
    transform, history = solved
    points = body_points()
    error = np.linalg.norm(transform(points) - truth(points), axis=1)
    before = np.linalg.norm(transform.linear_part()(points) - truth(points), axis=1)
    assert before.mean() > 5.0
    assert error.mean() < 0.4 * SPACING
    assert np.percentile(error, 95) < 1.0 * SPACING
    determinant = jacobian_determinant(transform.stages[0])
    inside = ((world(transform.stages[0].grid) / PARTS[0][1]) ** 2).sum(-1) < 1
    assert (determinant[inside] > 0).all()
    assert all(values[-1] > values[0] for values in history)
    np.testing.assert_allclose(transform.stages[0].grid.centre, fixed.grid.centre, atol=1e-6)


def test_labels_follow(warped, solved):
    fixed, _, pose, labels, _ = warped
    before, after = (carried_dice(labels, fixed.grid, t) for t in (Transform((Affine(pose),)), solved[0]))
    assert after > 0.9
    assert after > before + 0.1


@pytest.mark.parametrize("both_ways", [1, 2, 3])
def test_as_many_levels_as_are_asked_for_go_both_ways(warped, both_ways):
    fixed, moving, pose, labels, _ = warped
    levels = levels_of(fixed, moving, (3, 2, 1))
    bent = solve(levels, pose, DeformableSettings((3, 2, 1), (30, 15, 10), both_ways=both_ways))
    # How far both maps lie apart is known on the last of them; the finest level never goes back.
    assert bent.apart.grid == levels[min(both_ways, 2) - 1][0].grid
    assert carried_dice(labels, fixed.grid, Transform((bent.field, Affine(pose)))) > 0.9


def test_same_input_same_bytes(warped, solved):
    fixed, moving, pose, *_ = warped
    again = solve(levels_of(fixed, moving), pose, KNOBS).field
    assert again.vectors.tobytes() == solved[0].stages[0].vectors.tobytes()


def test_equal_images_move_by_a_fraction_of_a_voxel(warped):
    # Every step is scaled to its longest vector, so that even a perfect start is left a little.
    fixed = warped[0]
    field = solve(levels_of(fixed, fixed, (2,)), np.eye(4), DeformableSettings((2,), (20,))).field
    assert np.linalg.norm(field.vectors, axis=-1).mean() < 0.2 * 2 * SPACING  # measured 0.14


def test_images_that_do_not_overlap_end_without_nonsense(warped):
    fixed, moving, *_ = warped
    away = rigid("z", 0, (900, 0, 0))
    field = solve(levels_of(fixed, moving, (2,)), away, DeformableSettings((2,), (5,))).field
    assert np.isfinite(field.vectors).all()
    assert np.abs(field.vectors).max() == 0.0


def test_progress_ends_at_one(warped):
    fixed, moving, pose, *_ = warped
    told: list[float] = []
    solve(levels_of(fixed, moving, (4, 2)), pose, DeformableSettings((4, 2), (2, 2)), told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_the_candidate_that_matches_comes_first(warped):
    fixed, moving, pose, *_ = warped
    wrong = rigid("x", 25, (40, 10, -20))
    coarse = levels_of(fixed, moving, (2,))[0]
    found = try_candidates(*coarse, [Fit(wrong, 0.0), Fit(pose, 0.0)], DeformableSettings((2,), (20,)), CPU)
    np.testing.assert_array_equal(found[0].matrix, pose)
    assert found[0].score > found[1].score


def test_a_start_far_ahead_is_not_given_up_for_a_little_gain_in_bending(warped):
    fixed, moving, pose, *_ = warped
    near = rigid("z", 0, (2, 0, 0)) @ pose
    coarse = levels_of(fixed, moving, (2,))[0]
    knobs = DeformableSettings((2,), (20,))
    better, other = (f.matrix for f in try_candidates(*coarse, [Fit(pose, 0.0), Fit(near, 0.0)], knobs, CPU))
    found = try_candidates(*coarse, [Fit(better, 0.3), Fit(other, 0.9)], knobs, CPU)
    assert found[0].score < found[1].score
    np.testing.assert_array_equal(found[0].matrix, other)


def test_a_wrong_start_raises_doubts_and_a_right_one_does_not(warped):
    fixed, moving, pose, *_ = warped
    coarse = levels_of(fixed, moving, (2,))[0]
    knobs = DeformableSettings((2,), (40,))
    right, wrong, away = (
        try_candidates(*coarse, [Fit(matrix, 0.0)], knobs, CPU)[0]
        for matrix in (pose, rigid("x", 90) @ pose, rigid("z", 0, (110, 0, 0)) @ pose)
    )
    assert right.doubts == []
    assert right.apart < 0.5 * wrong.apart
    assert right.apart < RETRY_APART
    assert replace(right, apart=1.01 * RETRY_APART).convincing is False
    (doubt,) = replace(right, apart=1.01 * MAX_APART).doubts
    assert "there and back" in doubt
    assert away.met < right.met
    assert any("of the smaller image" in doubt for doubt in away.doubts)


@pytest.fixture(scope="module")
def beside():
    """A scan and one whose organ lies 20 mm beside its counterpart, on two resolutions of 2 and 4 mm."""
    rng = np.random.default_rng(2)
    tissue = ndimage.gaussian_filter(rng.standard_normal((64, 64, 64)), 4)
    organ = ndimage.gaussian_filter(rng.standard_normal((64, 64, 64)), 1.5)
    tissue, organ = tissue / tissue.std(), 4 + organ / organ.std()
    at = np.moveaxis(np.indices((64, 64, 64)), 0, -1) - 31.5
    ball = np.linalg.norm(at, axis=-1) < 11
    here = np.where(ball, organ, tissue)
    there = np.where(np.roll(ball, 10, axis=1), np.roll(organ, 10, axis=1), tissue)
    grid = Grid((64, 64, 64), np.diag([2.0, 2.0, 2.0, 1.0]))
    fixed, moving = (scaled(Volume(x.astype(np.float32), grid)) for x in (here, there))
    levels = [tuple(working_copy(x, SPACING) for x in (fixed, moving)), (fixed, moving)]
    return levels, grid.to_world(np.argwhere(ball).astype(float))


def test_an_organ_beside_its_counterpart_is_found_by_the_discrete_search_alone(beside):
    levels, points = beside
    plain = try_candidates(*levels[0], [Fit(np.eye(4), 0.0)], KNOBS, CPU)[0]
    found = try_candidates(*levels[0], [Fit(np.eye(4), 0.0)], KNOBS, CPU, DiscreteSearch(*levels, CPU))[0]
    assert found.before == plain.before
    assert found.lncc > plain.lncc

    def carried(start, search=None):
        field = register_deformable(levels, start, KNOBS, CPU, search).field
        return np.mean(Transform((field,))(points) - points, axis=0)

    assert carried(plain)[1] < 14.0
    there = carried(found, lambda number: DiscreteSearch(levels[number], levels[number], CPU))
    assert there == pytest.approx([0.0, 20.0, 0.0], abs=5.0)
