"""Dice by hand."""

import numpy as np
import pytest

from atlassegfm.overlap import dice


def test_dice_by_hand():
    first, second = np.array([1, 1, 1, 0, 0], bool), np.array([0, 1, 1, 1, 1], bool)
    assert dice(first, second) == pytest.approx(4 / 7)
    assert dice(first, first) == 1.0
    assert dice(first, ~first) == 0.0


def test_empty_masks():
    nothing, something = np.zeros(4, bool), np.ones(4, bool)
    assert dice(nothing, something) == 0.0
    assert dice(nothing, nothing) == 1.0
    assert dice(nothing, nothing, both_empty=0.0) == 0.0
