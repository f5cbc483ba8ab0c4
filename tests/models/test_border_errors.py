"""By how much priors err."""

import numpy as np
import pytest

from atlassegfm.models.border_errors import border_error, depth, error_limit, rounded, settled_errors
from atlassegfm.volume import Volume
from eggs import GRID, eggs


@pytest.fixture
def truth() -> Volume:
    return Volume(eggs(), GRID)


def test_border_error_of_a_shift_is_about_the_shift(truth):
    # 4 voxels of 1.5 mm: the surface across the shift is off by 6 mm, the surface along it by nothing.
    error = border_error(np.roll(truth.data, 4, axis=1) == 1, truth.data == 1, GRID.spacing)
    assert 4.0 < error < 7.0
    assert border_error(np.zeros(GRID.shape, bool), truth.data == 1, GRID.spacing) == 0.0


def test_depth_of_a_slab_is_half_its_thickness():
    mask = np.zeros((20, 30, 30), bool)
    mask[5:11, 2:28, 2:28] = True
    assert depth(mask, np.array([2.0, 2.0, 2.0])) == pytest.approx(5.0)


def test_one_failed_label_does_not_raise_the_others():
    errors = settled_errors({1: 30.0, 2: 2.0, 3: 0.0, 4: 2.4}, {1: 9.0, 2: 9.0, 3: 9.0, 4: 9.0}, unit=1.0)
    assert errors == {1: 9.0, 2: 2.0, 3: pytest.approx(1.2), 4: 2.4}


def test_no_error_at_all_still_teaches_a_little():
    assert settled_errors({1: 0.0}, {1: 50.0}, unit=2.0) == {1: 2.0}


def test_errors_are_rounded_to_powers():
    assert [rounded(error, 1.5) for error in (1.5, 2.0, 2.2, 0.6, 12.1)] == [1.5, 1.5, 3.0, 0.75, 12.0]
    assert [rounded(error, 2.0, 4.0) for error in (1.1, 3.9, 4.1, 15.0, 17.0)] == [2.0, 2.0, 8.0, 8.0, 32.0]


def test_a_label_bears_three_quarters_of_its_depth_and_a_voxel():
    assert error_limit(8.0, 2.0) == 6.0
    assert error_limit(1.0, 2.0) == 2.0
