"""How a descent goes on and when it ends; that one call is its steps is tested with `descent`."""

from __future__ import annotations

import numpy as np
import pytest

from atlassegfm.registration.descent_kernels import SHORTEST_STEP, SLOPE, STEP_SHRINK, WINDOW, paced


def test_a_step_that_loses_shortens_the_next_ones_until_they_are_too_short():
    length, taken = 1.0, 0
    while True:
        better, shorter, further = paced(np.array([0.5]), 1, 0.6, length, 1.0)
        assert not better
        assert shorter == pytest.approx(STEP_SHRINK * length)
        if not further:
            break
        length, taken = shorter, taken + 1
    assert shorter < SHORTEST_STEP <= length
    assert taken == 4


@pytest.mark.parametrize(("gain", "further"), [(2 * SLOPE, True), (0.5 * SLOPE, False)])
def test_steps_that_hardly_gain_are_the_last(gain, further):
    history = 0.5 * (1.0 + gain * np.arange(WINDOW + 1))
    assert paced(history, WINDOW, 0.0, 1.0, 1.0) == (True, 1.0, True)
    assert paced(history, WINDOW + 1, 0.0, 1.0, 1.0) == (True, 1.0, further)


def test_a_value_that_is_no_number_is_no_better():
    assert not paced(np.array([np.nan]), 1, -1.0, 1.0, 1.0)[0]
