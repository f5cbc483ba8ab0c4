"""Priors to learn from."""

import numpy as np
import pytest

from atlassegfm.models.base import Support
from atlassegfm.models.lessons import Lessons, usable_priors, usual_error
from atlassegfm.volume import Grid, Volume
from eggs import GRID, eggs


@pytest.fixture
def truth() -> Volume:
    return Volume(eggs(), GRID)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_sizes_are_powers_of_two_voxels_that_the_label_bears(truth):
    lessons = Lessons(truth, seed=0)
    unit = GRID.voxel_edge_mm
    assert lessons.sizes(12.0) == [unit, 2 * unit, 4 * unit, 8 * unit][: len(lessons.sizes(12.0))]
    assert max(lessons.sizes(12.0)) == pytest.approx(0.75 * 12.0, rel=0.42)
    assert min(lessons.sizes(40.0)) == pytest.approx(0.1 * 40.0, rel=0.42)
    # The thinnest of labels is taught something.
    assert lessons.sizes(0.2 * unit) == [0.5 * unit, unit]


def test_lessons_err_by_their_size(truth):
    lessons = Lessons(truth, seed=0)
    small, *_, large = map(lessons.priors, lessons.sizes(8.0))
    assert len(small) == len(large) == 3
    mean = [np.mean([dice(p.data == 1, truth.data == 1) for p in priors]) for priors in (small, large)]
    assert mean[0] > mean[1] + 0.1
    assert mean[1] > 0.3


def test_lessons_do_not_depend_on_the_order_in_which_labels_ask(truth):
    first, second = (Lessons(truth, seed=0) for _ in range(2))
    small, *_, large = first.sizes(8.0)
    first.priors(large)
    np.testing.assert_array_equal(first.priors(small)[1].data, second.priors(small)[1].data)


@pytest.mark.parametrize(("voxels", "times"), [(3, 1.0), (8, 1.0), (0, 1 / 16)])
def test_the_usual_error_counts_in_depths(voxels, times):
    """Whatever registration leaves: only where it leaves next to nothing is anything else learnt."""
    data = np.zeros((50, 50, 50), np.uint8)
    data[8:42, 8:42, 8:42] = 1
    truth = Volume(data, Grid(data.shape, np.diag([2.0, 2.0, 2.0, 1.0])))
    support = Support(truth, truth, truth.with_data(np.roll(data, voxels, axis=1)))
    assert usual_error(support) == pytest.approx(times * 0.25 * 33.0)


def test_a_lost_label_gets_a_stand_in_and_the_others_stay(truth):
    returned = truth.data.copy()
    returned[returned == 1] = 0
    out = usable_priors(truth, truth.with_data(returned), seed=0).data
    assert 0.5 < dice(out == 1, truth.data == 1) < 0.98
    np.testing.assert_array_equal((out == 2) | (out == 1), (returned == 2) | (out == 1))
    np.testing.assert_array_equal(usable_priors(truth, truth, seed=0).data, truth.data)
