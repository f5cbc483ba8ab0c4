"""Neighbouring labels as negative clicks."""

from __future__ import annotations

import numpy as np

from atlassegfm.models.rivals import APART_MM, FARTHEST_MM, NEAREST_MM, negative_clicks
from atlassegfm.prompts import make_prompt
from atlassegfm.volume import Grid

GRID = Grid((50, 30, 20), np.diag([1.0, 1.5, 2.0, 1.0]))


def prompt(rivals: np.ndarray):
    mask = np.zeros(GRID.shape, np.float32)
    mask[10:20, 10:20, 6:14] = 1.0
    return make_prompt("mask", mask, GRID, 1, rivals.astype(np.float32))


def test_clicks_lie_in_neighbours_near_but_not_at_the_border_and_apart():
    rivals = np.zeros(GRID.shape, bool)
    rivals[20:45, :, :] = True
    clicks = negative_clicks(prompt(rivals), GRID.spacing, 4)
    assert 2 <= len(clicks) <= 4
    for click in clicks:
        assert rivals[click]
        nearest = np.array([min(max(click[a], lo), hi) for a, (lo, hi) in enumerate(((10, 19), (10, 19), (6, 13)))])
        distance = np.linalg.norm((np.array(click) - nearest) * GRID.spacing)
        assert NEAREST_MM <= distance <= FARTHEST_MM + 1.0
    for n, one in enumerate(clicks):
        for two in clicks[:n]:
            assert np.linalg.norm((np.array(one) - two) * GRID.spacing) >= APART_MM


def test_far_labels_and_none_give_no_clicks():
    far = np.zeros(GRID.shape, bool)
    far[46:, :, :] = True
    assert negative_clicks(prompt(far), GRID.spacing, 3) == []
    near = np.zeros(GRID.shape, bool)
    near[22:30] = True
    assert negative_clicks(prompt(near), GRID.spacing, 0) == []
