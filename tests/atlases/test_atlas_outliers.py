"""Which atlases are left out."""

import pytest
from vote_scene import warped

from atlassegfm.atlases.outliers import outliers


def test_the_one_that_is_elsewhere_is_left_out():
    left, scores = outliers([warped(0), warped(9, 1), warped(1, 2), warped(0, 3)])
    assert left == [1]
    assert scores[1] < 0.1 < 0.8 < min(scores[0], scores[2], scores[3])


def test_one_outlier_after_the_other():
    left, scores = outliers([warped(0), warped(9, 1), warped(1, 2), warped(0, 3), warped(-6, 4)])
    assert sorted(left) == [1, 4]
    # Of those that stay the agreement is told among themselves.
    assert scores[3] == pytest.approx(16 / 17)


def test_of_two_nobody_can_say_which_one_errs():
    assert outliers([warped(0), warped(9, 1)])[0] == []
    assert outliers([warped(0)]) == ([], [1.0])
