"""Compiled loops: parts side by side."""

from __future__ import annotations

import numpy as np
import pytest

from atlassegfm.compiled import compiled, run_parts


@pytest.mark.parametrize(("count", "threads"), [(10, 1), (10, 3), (2, 8), (1, 0), (0, 2)])
def test_every_item_is_done_once(count, threads):
    done = np.zeros(10, dtype=int)

    def kernel(out: np.ndarray, first: int, last: int) -> None:
        out[first:last] += 1

    run_parts(kernel, count, threads, done)
    assert done[:count].tolist() == [1] * count
    assert not done[count:].any()


def test_a_failure_is_told():
    def kernel(first: int, last: int) -> None:
        raise ValueError("a part failed")

    with pytest.raises(ValueError, match="a part failed"):
        run_parts(kernel, 4, 2)


def test_no_number_stays_none():
    @compiled
    def total(values):
        out = 0.0
        for value in values:
            out += value
        return out

    assert total(np.array([1.0, 2.0])) == 3.0
    assert np.isnan(total(np.array([1.0, np.nan])))
