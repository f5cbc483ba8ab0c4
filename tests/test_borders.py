"""What a border that lies wrong looks like."""

from __future__ import annotations

import numpy as np
import pytest

from atlassegfm.quality.borders import STEPS, border_curve, border_of, mismatch
from atlassegfm.volume import Grid, Volume
from fakes import ball_map

GRID = Grid((48, 48, 36), np.diag([1.5, 1.5, 2.0, 1.0]))
CENTRE = (36.0, 36.0, 36.0)


def scene(seed: int = 0, *, contrast: float = 50.0):
    mask = ball_map(GRID, {1: CENTRE}, 14.0).data == 1
    image = np.random.default_rng(seed).normal(100.0, 10.0, GRID.shape) + contrast * mask
    return image.astype(np.float32), mask


def test_a_profile_falls_where_the_label_ends():
    image, mask = scene()
    border = border_of(image, mask, GRID.spacing, 2.0)
    assert border.profile.shape == (2 * STEPS,)
    assert border.profile[:STEPS].min() > 140 > 110 > border.profile[STEPS:].max()
    assert border.separation > 0.99
    other = border_of(*scene(1), GRID.spacing, 2.0)
    assert other.profile_match(border) > 0.99
    assert mismatch(other, border) < 0.02


def test_a_label_beside_its_place_or_of_the_wrong_contrast_is_noticed():
    image, mask = scene()
    border = border_of(image, mask, GRID.spacing, 2.0)
    beside = border_of(image, np.roll(mask, 12, axis=0), GRID.spacing, 2.0)
    inverted = border_of(200.0 - image, mask, GRID.spacing, 2.0)
    assert mismatch(beside, border) > 0.15
    assert inverted.profile_match(border) < -0.99
    assert mismatch(inverted, border) > 1.0


def test_nothing_to_compare():
    image, mask = scene()
    assert border_of(image, mask & False, GRID.spacing, 2.0) is None
    assert border_of(image, mask | True, GRID.spacing, 2.0) is None
    flat = border_of(image * 0, mask, GRID.spacing, 2.0)
    assert flat.separation == pytest.approx(0.5)
    assert flat.profile_match(border_of(image, mask, GRID.spacing, 2.0)) == 0.0


def test_the_curve_tells_how_wrong_a_border_is():
    image, mask = scene()
    volume = Volume(image, GRID)
    curve = border_curve(volume, mask, 14.0, 2.0)
    assert (np.diff(curve.mismatches) >= 0).all()
    assert (np.diff(curve.dices) <= 1e-12).all()
    own = border_of(image, mask, GRID.spacing, 2.0)
    found = []
    for shift in (0, 3, 6, 12):
        moved = np.roll(mask, shift, axis=0)
        found.append(curve.dice(mismatch(border_of(image, moved, GRID.spacing, 2.0), own)))
    assert found == sorted(found, reverse=True)
    assert found[0] > 0.9
    assert found[-1] < 0.5


def test_an_invisible_label_has_no_curve():
    image, mask = scene(contrast=0.0)
    assert border_curve(Volume(image, GRID), mask, 14.0, 2.0) is None
