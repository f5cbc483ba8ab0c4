"""Synthetic errors of a prior."""

import numpy as np
import pytest

from atlassegfm.models.corruption import displaced_labels, random_displacement
from atlassegfm.registration.measures import jacobian_determinant
from atlassegfm.resampling import resample_labels
from atlassegfm.volume import Grid, Volume


@pytest.fixture
def grid() -> Grid:
    return Grid((40, 36, 20), np.diag([2.0, 2.0, 4.0, 1.0]))


@pytest.mark.parametrize("amplitude", [2.0, 6.0])
def test_displacement_has_the_amplitude_asked_for(grid, amplitude):
    field = random_displacement(grid, amplitude, np.random.default_rng(0))
    assert np.sqrt((field.vectors**2).sum(-1).mean()) == pytest.approx(amplitude, rel=1e-4)


def test_displacement_is_smooth_enough_not_to_tear(grid):
    folded = jacobian_determinant(random_displacement(grid, 5.0, np.random.default_rng(3))) <= 0
    assert folded.mean() < 0.01


def test_labels_move_but_stay_labels_and_repeat_with_the_seed(grid):
    labels = np.zeros(grid.shape, np.uint8)
    labels[10:22, 10:24, 5:14] = 3
    labels[24:32, 12:22, 6:12] = 9
    source = Volume(labels, grid)
    first = displaced_labels(source, 4.0, np.random.default_rng(5)).data
    again = displaced_labels(source, 4.0, np.random.default_rng(5)).data
    np.testing.assert_array_equal(first, again)
    assert set(np.unique(first)) == {0, 3, 9}
    # Only the surroundings of the labels are looked at; no voxel differs for that.
    field = random_displacement(grid, 4.0, np.random.default_rng(5))
    np.testing.assert_array_equal(first, resample_labels(source, grid, field).data)
    overlap = 2 * ((first == 3) & (labels == 3)).sum() / ((first == 3).sum() + (labels == 3).sum())
    assert 0.4 < overlap < 0.97


def test_a_map_without_labels_stays_empty(grid):
    empty = Volume(np.zeros(grid.shape, np.uint8), grid)
    assert not displaced_labels(empty, 4.0, np.random.default_rng(5)).data.any()
