"""Numbers of known shapes."""

import numpy as np
import pytest

from atlassegfm.cohort.shape import shapes
from atlassegfm.volume import Grid, Volume

SPACING = (1.0, 1.5, 2.0)


def volume(function, shape=(90, 60, 45), spacing=SPACING):
    """Label map of a function of world points (mm, centred)."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(shape) * spacing / 2
    grid = Grid(shape, affine)
    world = grid.to_world(np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1))
    return Volume(function(world).astype(np.uint8), grid)


def ellipsoid(world, half_axes, centre=(0, 0, 0)):
    return np.square((world - np.array(centre)) / np.array(half_axes)).sum(axis=-1) < 1


def test_an_ellipsoid_has_the_elongation_of_its_axes():
    found = shapes(volume(lambda w: ellipsoid(w, (36, 18, 18))), [1])[1]
    assert found["elongation"] == pytest.approx(2.0, rel=0.03)
    assert found["components"] == 1


def test_a_ball_is_rounder_than_a_rod_at_any_resolution():
    for spacing, shape in ((SPACING, (90, 60, 45)), ((0.4, 0.4, 1.0), (200, 200, 80))):
        ball = shapes(volume(lambda w: ellipsoid(w, (30, 30, 30)), shape, spacing), [1])[1]
        rod = shapes(volume(lambda w: ellipsoid(w, (36, 8, 8)), shape, spacing), [1])[1]
        assert ball["elongation"] == pytest.approx(1.0, abs=0.03)
        assert ball["sphericity"] == pytest.approx(0.95, abs=0.06)
        # The ellipsoid's own, by Thomsen's approximation of its surface (error below 1.1 %).
        power = 1.6075
        axes = (36.0**power, 8.0**power, 8.0**power)
        surface = 4 * np.pi * ((axes[0] * axes[1] * 2 + axes[1] * axes[2]) / 3) ** (1 / power)
        wanted = (36 * 8 * 8) ** (2 / 3) * 4 * np.pi / surface
        assert rod["sphericity"] == pytest.approx(wanted * 0.95, abs=0.07)


def test_parts_are_counted_and_specks_are_not():
    def parts(world):
        two = ellipsoid(world, (9, 9, 9), (-25, 0, 0)) | ellipsoid(world, (9, 9, 9), (25, 0, 0))
        two[2, 2, 2] = True
        return two

    assert shapes(volume(parts), [1])[1]["components"] == 2


def test_offsets_are_from_the_other_labels_in_ras():
    def three(world):
        return 1 * ellipsoid(world, (6, 6, 6), (20, 0, 0)) + 2 * ellipsoid(world, (6, 6, 6), (-20, 10, 0))

    found = shapes(volume(three), [1, 2])
    assert found[1]["offset_mm"] == pytest.approx([40, -10, 0], abs=0.6)
    assert found[2]["offset_mm"] == pytest.approx([-40, 10, 0], abs=0.6)
    # A label that is missing moves the middle of the others: no offset then.
    assert shapes(volume(three), [1, 2, 3])[1]["offset_mm"] is None


def test_an_empty_label_has_none_and_a_single_voxel_has_some():
    assert shapes(volume(lambda w: np.zeros(w.shape[:3])), [1]) == {}

    def voxel(world):
        mask = np.zeros(world.shape[:3])
        mask[4, 5, 6] = 1
        return mask

    found = shapes(volume(voxel), [1])[1]
    assert found["components"] == 1
    assert found["elongation"] == pytest.approx(2.0, rel=0.01)
    assert 0 < found["sphericity"] <= 1
