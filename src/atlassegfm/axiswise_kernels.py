"""The compiled loop of `axiswise`; apart, because importing the compiler takes a third of a second."""

from __future__ import annotations

import numpy as np

from atlassegfm.compiled import compiled

#: Values of a row that are worked on at a time: they and their sources stay in the fast cache.
BLOCK = 2048


@compiled
def weighted(values, begins, weights, out, first, last):  # noqa: ANN001, ANN201
    """Weighted sums along the middle axis of (A, N, B), into (A * M, B), for the rows from `first` to `last`.

    Row ``a * M + m`` takes ``values[a, begins[m] + t]`` times ``weights[m, t]``. What has no weight is not read: it may
    be no number.
    """
    count, across = len(begins), values.shape[2]
    for row in range(first, last):
        a, m = row // count, row % count
        begin = begins[m]
        if across == 1:
            total = np.float32(0.0)
            for t in range(weights.shape[1]):
                if weights[m, t] != np.float32(0.0):
                    total += weights[m, t] * values[a, begin + t, 0]
            out[row, 0] = total
            continue
        for start in range(0, across, BLOCK):
            stop = min(start + BLOCK, across)
            for b in range(start, stop):
                out[row, b] = np.float32(0.0)
            for t in range(weights.shape[1]):
                weight = weights[m, t]
                if weight != np.float32(0.0):
                    for b in range(start, stop):
                        out[row, b] += weight * values[a, begin + t, b]
