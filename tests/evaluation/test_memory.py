"""Peak memory is that of the block, not of the process's past."""

import mmap
import sys

import pytest

from atlassegfm.evaluation.memory import peak_mb, reset_peak


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process reset its peak")
def test_peak_is_that_of_the_block():
    reset_peak()
    before = peak_mb()
    # Straight from the system: an allocator may hand out, and keep, pages that were resident before.
    with mmap.mmap(-1, 200_000_000) as big:
        for page in range(0, len(big), mmap.PAGESIZE):
            big[page] = 1
        inside = peak_mb()
    reset_peak()
    after = peak_mb()
    assert 190 < inside - before < 260
    assert after < inside - 150
