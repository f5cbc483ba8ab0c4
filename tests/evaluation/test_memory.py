"""Peak memory is that of the block, not of the process's past."""

import sys

import numpy as np
import pytest

from atlassegfm.evaluation.memory import peak_mb, reset_peak


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its peak")
def test_peak_is_that_of_the_block():
    reset_peak()
    before = peak_mb()
    big = np.ones(25_000_000)  # 200 MB
    inside = peak_mb()
    del big
    reset_peak()
    after = peak_mb()
    assert 190 < inside - before < 260
    assert after < inside - 150
