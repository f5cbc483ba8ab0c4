"""Measures of a registration, against fields whose answers are known."""

from __future__ import annotations

import json

import numpy as np
import pytest

from atlassegfm.errors import InputError
from atlassegfm.registration import measures
from atlassegfm.registration.measures import (
    as_displacement,
    folding_percent,
    foreground,
    inverse_consistency,
    jacobian_determinant,
    masked_ncc,
    measure,
    points_of,
    smoothness,
)
from atlassegfm.registration.transform import Affine, Displacement, Transform
from atlassegfm.volume import Grid, Volume

from .phantoms import PARTS, apply, grid_of, moving_of, rigid, scan, waves, world

GRID = grid_of((4, 5, 4.5), turn_deg=(0, 10, 20), flips=(-1, 1, 1))


def field(function, grid=GRID) -> Displacement:
    return Displacement(grid, function(world(grid)).astype(np.float32))


def everywhere(grid=GRID) -> Volume:
    return Volume(np.ones(grid.shape, bool), grid)


def test_jacobian_of_a_linear_field_is_the_determinant():
    slope = np.array([[0.2, -0.1, 0.05], [0.1, -0.3, 0.2], [0.0, 0.15, 0.1]])
    linear = field(lambda p: p @ slope.T)
    np.testing.assert_allclose(jacobian_determinant(linear), np.linalg.det(np.eye(3) + slope), atol=1e-4)


def test_jacobian_of_a_curved_field_follows_the_formula():
    def bend(p):
        x, y, z = np.moveaxis(p, -1, 0)
        return np.stack([0.004 * x**2, -0.003 * y**2 + 0.002 * x * z, 0.1 * z], axis=-1)

    x, y, _ = np.moveaxis(world(GRID), -1, 0)
    wanted = (1 + 0.008 * x) * (1 - 0.006 * y) * 1.1
    # Central differences of a quadratic are exact; the one-sided ones at the border are not.
    box = tuple(slice(1, n - 1) for n in GRID.shape)
    np.testing.assert_allclose(jacobian_determinant(field(bend))[box], wanted[box], atol=1e-4)


@pytest.mark.parametrize("shape", [(8, 1, 6), (1, 1, 1)])
def test_jacobian_of_thin_grids_is_finite(shape):
    still = Displacement(Grid(shape, np.diag([2.0, 2.0, 2.0, 1.0])), np.zeros((*shape, 3), np.float32))
    np.testing.assert_array_equal(jacobian_determinant(still), np.ones(shape))


def test_a_mirror_folds_everywhere():
    grid = grid_of((2, 2, 2), (20, 20, 20))
    mirror = field(lambda p: np.stack([-2 * p[..., 0], 0 * p[..., 1], 0 * p[..., 2]], axis=-1), grid)
    np.testing.assert_allclose(jacobian_determinant(mirror), -1.0, atol=1e-6)
    assert folding_percent(mirror) == 100.0
    assert folding_percent(field(waves(2.0))) == 0.0


@pytest.mark.parametrize("tail", [(), (Affine(rigid("y", 25, (3, 0, 0))),)])
def test_determinants_are_those_of_the_whole_map(tail):
    first = field(waves(3.0))
    scaled = Affine(np.diag([1.2, 0.9, 1.1, 1.0]))
    transform = Transform((first, scaled, *tail))
    found, inside = measures.determinants(transform, everywhere())
    assert inside.all()
    np.testing.assert_allclose(found.data, jacobian_determinant(as_displacement(transform, GRID)), atol=1e-4)
    twice = Transform((scaled, first, *tail))  # the field comes later: on the mask's grid
    found, _ = measures.determinants(twice, everywhere())
    np.testing.assert_allclose(found.data, jacobian_determinant(as_displacement(twice, GRID)), atol=1e-4)


def test_folding_counts_the_folded_half():
    # x -> x + u with u = -2x where x > 0: the map turns round there, det = -1; elsewhere det = 1.
    grid = grid_of((2, 2, 2), (40, 20, 20))
    folded = field(lambda p: np.stack([-2 * np.maximum(p[..., 0], 0), 0 * p[..., 0], 0 * p[..., 0]], -1), grid)
    facts = smoothness(Transform((folded,)), everywhere(grid))
    assert facts["folding_percent"] == pytest.approx(50.0, abs=1e-6)
    assert facts["jacobian_min"] == pytest.approx(-1.0, abs=1e-5)
    left = Volume(world(grid)[..., 0] < -3, grid)
    assert smoothness(Transform((folded,)), left)["folding_percent"] == 0.0


def test_sd_log_jacobian_of_two_known_halves():
    # Growth by e^0.3 in one half and by e^-0.3 in the other: the logarithm spreads by 0.3.
    grid = grid_of((2, 2, 2), (40, 20, 20))

    def stretch(p):
        x = p[..., 0]
        return np.stack([x * (np.exp(np.where(x > 0, 0.3, -0.3)) - 1), 0 * x, 0 * x], -1)

    inside = Volume(np.abs(world(grid)[..., 0]) > 3, grid)
    facts = smoothness(Transform((field(stretch, grid),)), inside)
    assert facts["sd_log_jacobian"] == pytest.approx(0.3, abs=1e-4)
    assert facts["folding_percent"] == 0.0


def test_affine_part_shifts_but_does_not_spread():
    matrix = rigid("z", 20, (40, 0, 0))
    matrix[:3, :3] *= 1.2
    facts = smoothness(Transform((Affine(matrix),)), everywhere())
    assert facts["sd_log_jacobian"] == pytest.approx(0.0, abs=1e-12)
    assert facts["jacobian_max"] == pytest.approx(1.2**3)
    wavy = Transform((field(waves(3.0)),))
    alone, chained = (smoothness(t, everywhere()) for t in (wavy, wavy.then(Transform((Affine(matrix),)))))
    assert chained["sd_log_jacobian"] == pytest.approx(alone["sd_log_jacobian"], rel=1e-3)
    assert smoothness(Transform(), everywhere())["jacobian_min"] == 1.0


def test_slabs_do_not_show(monkeypatch):
    transform = Transform((field(waves(4.0)), Affine(rigid("y", 5))))
    whole = measures.determinants(transform, everywhere())[0].data
    monkeypatch.setattr(measures, "SLAB_VOXELS", 1)
    np.testing.assert_array_equal(measures.determinants(transform, everywhere())[0].data, whole)


def test_mask_on_another_grid_than_the_field():
    coarse = grid_of((8, 8, 8))
    transform = Transform((field(waves(2.0), coarse),))
    determinant, inside = measures.determinants(transform, Volume(world(GRID)[..., 2] > 0, GRID))
    assert determinant.grid is coarse
    assert inside.shape == coarse.shape
    assert inside[world(coarse)[..., 2] < -8].sum() == 0
    assert 0.3 < inside.mean() < 0.55


def test_as_displacement_is_the_whole_map():
    transform = Transform((field(waves(3.0)), Affine(rigid("x", 12, (5, 6, 7)))))
    points = world(GRID)
    np.testing.assert_allclose(as_displacement(transform, GRID)(points), transform(points), atol=1e-4)


def test_inverse_consistency_of_exact_and_shifted_inverses():
    points = points_of(GRID)
    forward = Transform((Affine(rigid("z", 30, (10, 0, 0))),))
    exact = inverse_consistency(forward, forward.inverse(), points)
    assert exact["inverse_error_mean_mm"] < 1e-9
    off = forward.inverse().then(Transform((Affine(rigid("z", 0, (3, 4, 0))),)))
    shifted = inverse_consistency(forward, off, points)
    assert shifted["inverse_error_mean_mm"] == pytest.approx(5.0)
    assert shifted["inverse_error_p95_mm"] == pytest.approx(5.0)


def test_points_of_a_mask():
    mask = np.zeros(GRID.shape, bool)
    mask[3, 4, 5] = mask[6, 7, 8] = True
    np.testing.assert_allclose(points_of(GRID, mask), GRID.to_world([[3, 4, 5], [6, 7, 8]]))
    thinned = points_of(GRID, most=500)
    assert thinned.shape == (500, 3)
    np.testing.assert_array_equal(thinned, points_of(GRID, most=500))
    assert np.linalg.norm(thinned.mean(axis=0) - GRID.centre) < 6
    with pytest.raises(InputError, match="empty"):
        points_of(GRID, np.zeros(GRID.shape, bool))
    with pytest.raises(InputError, match="shape"):
        points_of(GRID, np.zeros((2, 2, 2), bool))


def test_masked_ncc_of_the_true_and_of_no_motion():
    truth = rigid("z", 15, (12, -8, 5))
    fixed, moving = scan(GRID, noise=0), moving_of(GRID, truth, noise=0)
    aligned, unmoved = masked_ncc(fixed, moving, Transform((Affine(truth),))), masked_ncc(fixed, moving)
    assert aligned > 0.97
    assert unmoved < 0.8
    assert masked_ncc(fixed, fixed) == pytest.approx(1.0)
    inverted = Volume(3.0 - 2.0 * fixed.data, GRID)
    assert masked_ncc(fixed, inverted) == pytest.approx(-1.0)


def test_masked_ncc_without_overlap_or_contrast_is_zero():
    fixed = scan(GRID)
    assert masked_ncc(fixed, fixed, Transform((Affine(rigid("z", 0, (1000, 0, 0))),))) == 0.0
    assert masked_ncc(fixed, Volume(np.ones(GRID.shape, np.float32), GRID)) == 0.0
    assert masked_ncc(fixed, fixed, mask=np.zeros(GRID.shape, bool)) == 0.0


@pytest.mark.parametrize(("scale", "offset"), [(1.0, 0.0), (8.0, -1024.0)])
def test_foreground_is_the_body(scale, offset):
    image = scan(GRID)
    mask = foreground(Volume((image.data * scale + offset).astype(np.float32), GRID))
    body = ((world(GRID) / PARTS[0][1]) ** 2).sum(-1) < 1
    assert 2 * (mask & body).sum() / (mask.sum() + body.sum()) > 0.93
    assert mask[body].mean() > 0.95


def test_foreground_of_a_crop_or_a_constant_is_everything():
    assert foreground(Volume(np.full(GRID.shape, 7.0, np.float32), GRID)).all()


def test_measure_is_json_and_tells_better_from_worse():
    truth = rigid("z", 8, (6, -4, 3))
    fixed, moving = scan(GRID), moving_of(GRID, truth)
    facts = measure(fixed, moving, Transform((field(lambda p: 0 * p), Affine(truth))))
    json.dumps(facts)
    assert facts["similarity_before"] < facts["similarity_affine"] == pytest.approx(facts["similarity_after"], abs=1e-4)
    assert facts["folding_percent"] == 0.0
    assert facts["inverse_error_p95_mm"] < 1e-3
    backward = Transform((Affine(rigid("x", 0, (0, 0, 2)) @ np.linalg.inv(truth)),))
    assert measure(fixed, moving, Transform((Affine(truth),)), backward)["inverse_error_mean_mm"] == pytest.approx(2.0)
    assert apply(np.eye(4), np.ones((1, 3))).tolist() == [[1, 1, 1]]
