"""STAPLE of masks."""

import numpy as np
import pytest
from vote_scene import truth, warped

from atlassegfm.atlases.staple import staple_labels


def test_those_that_agree_outweigh_the_one_that_does_not():
    found = {v: (box, p) for v, box, p in staple_labels([warped(0, 1), warped(0, 2), warped(6, 3), warped(0, 4)])}
    box, probability = found[1]
    assert np.array_equal(probability >= 0.5, truth()[box])
    assert probability.dtype == np.float32


def test_a_label_of_one_atlas_is_its_mask():
    found = {v: p for v, _, p in staple_labels([warped(0, 1), warped(0, 2, values=(7,))])}
    assert found[7].sum() == pytest.approx(truth().sum())
