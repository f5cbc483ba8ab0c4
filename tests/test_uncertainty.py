"""The map of where a result is likely to be wrong."""

from __future__ import annotations

import numpy as np
import pytest

from atlassegfm.quality.uncertainty import border_sigma, uncertainty_map
from atlassegfm.volume import Grid
from fakes import ball_map, fake_segmentation

GRID = Grid((40, 40, 30), np.diag([1.5, 1.5, 2.0, 1.0]))
CENTRE = (30.0, 30.0, 30.0)


def made(score: float, radius_mm: float = 15.0):
    found = fake_segmentation(ball_map(GRID, {2: CENTRE}, radius_mm), {2: "ball"})
    found.report["labels"][0]["quality"]["score"] = score
    return found


def distances() -> np.ndarray:
    world = GRID.to_world(np.moveaxis(np.indices(GRID.shape), 0, -1))
    return np.linalg.norm(world - CENTRE, axis=-1)


def test_sigma_is_that_of_balls_whose_dice_is_known():
    """A border that is everywhere d mm off leaves a Dice of about 1 - 3 d / (2 r), and mean |d| is sigma sqrt(2/pi)."""
    mask = ball_map(GRID, {1: CENTRE}, 15.0).data == 1
    assert border_sigma(mask, GRID.spacing, 0.9) * np.sqrt(2 / np.pi) == pytest.approx(1.0, rel=0.1)
    assert border_sigma(mask, GRID.spacing, 1.0) == 0.0
    assert border_sigma(mask & False, GRID.spacing, 0.5) == 0.0


def test_the_worse_the_label_the_wider_the_doubt():
    far = distances()
    good, bad = (uncertainty_map(made(score)).data for score in (0.8, 0.4))
    assert good.dtype == np.float32
    assert 0.25 < good[np.abs(far - 15.0) < 1.0].mean() <= 0.5
    assert good[far < 5].max() == good[far > 25].max() == 0.0
    assert bad[np.abs(far - 15.0) > 5.0].mean() > 3 * good[np.abs(far - 15.0) > 5.0].mean()
    assert max(good.max(), bad.max()) <= 0.5


def test_what_the_model_doubts_is_in_it():
    found = made(1.0)
    box = (slice(0, 5),) * 3
    found.probabilities = {2: (box, np.full((5, 5, 5), 0.3, np.float32))}
    data = uncertainty_map(found).data
    np.testing.assert_allclose(data[box], 0.3, atol=1e-6)
    assert data[20, 20, 15] == 0.0


def test_a_label_that_is_empty_or_everywhere_leaves_no_trace():
    for radius_mm in (0.0, 500.0):
        assert uncertainty_map(made(0.6, radius_mm)).data.max() == 0.0
