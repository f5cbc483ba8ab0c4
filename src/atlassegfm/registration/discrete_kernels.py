"""Compiled loops of the search over discrete displacements.

Features are (I, J, K, C) and costs (I, J, K, D) float32, D counting the displacements of a cube of edge ``2 * reach
+ 1`` with the last axis fastest. Slabs are planes of the first axis unless a kernel says otherwise.
"""

from __future__ import annotations

import numpy as np

from atlassegfm.registration.kernels import compiled


@compiled
def match_costs(fixed, moving, seen, reach, costs, first, last):  # noqa: ANN001, ANN201
    """Mean squared difference of the features of each voxel and of those each displacement away in `moving`.

    Where `moving` is not seen nothing speaks for or against a displacement: it costs what the others do on average.
    """
    ni, nj, nk, channels = fixed.shape
    scale = np.float32(1.0 / channels)
    for i in range(first, last):
        for j in range(nj):
            for k in range(nk):
                own, out, at = fixed[i, j, k], costs[i, j, k], 0
                total, known = np.float32(0.0), 0
                for a in range(i - reach, i + reach + 1):
                    for b in range(j - reach, j + reach + 1):
                        for c in range(k - reach, k + reach + 1):
                            inside = 0 <= a < ni and 0 <= b < nj and 0 <= c < nk
                            if inside and seen[a, b, c] > 0.5:
                                other, value = moving[a, b, c], np.float32(0.0)
                                for n in range(channels):
                                    value += (own[n] - other[n]) * (own[n] - other[n])
                                value *= scale
                                total += value
                                known += 1
                            else:
                                value = np.float32(-1.0)
                            out[at] = value
                            at += 1
                usual = total / known if known else np.float32(0.0)
                for at in range(out.size):
                    if out[at] < 0.0:
                        out[at] = usual


@compiled
def average_lines(costs, first, last):  # noqa: ANN001, ANN201
    """Replace costs (A, N, B, D) by their mean with both neighbours along the second axis, in place.

    Slabs are the A * B lines.
    """
    _, count, across, size = costs.shape
    before, own = np.empty(size, np.float32), np.empty(size, np.float32)
    third, half = np.float32(1.0 / 3.0), np.float32(0.5)
    if count == 1:
        return
    for line in range(first, last):
        a, b = line // across, line % across
        before[:] = costs[a, 0, b]
        for n in range(size):
            costs[a, 0, b, n] = half * (before[n] + costs[a, 1, b, n])
        for at in range(1, count - 1):
            own[:] = costs[a, at, b]
            for n in range(size):
                costs[a, at, b, n] = third * (before[n] + own[n] + costs[a, at + 1, b, n])
            before, own = own, before
        for n in range(size):
            costs[a, count - 1, b, n] = half * (before[n] + costs[a, count - 1, b, n])


@compiled
def cheapest(costs, near, weight, reach, out, first, last):  # noqa: ANN001, ANN201
    """Displacement (3, I, J, K) of least cost plus `weight` times its squared distance from `near` (3, I, J, K)."""
    _, nj, nk, _ = costs.shape
    edge = 2 * reach + 1
    away = np.empty((3, edge), np.float32)
    for i in range(first, last):
        for j in range(nj):
            for k in range(nk):
                for axis in range(3):
                    for n in range(edge):
                        step = np.float32(n - reach) - near[axis, i, j, k]
                        away[axis, n] = weight * step * step
                cost, least, best, at = costs[i, j, k], np.float32(np.inf), 0, 0
                for a in range(edge):
                    for b in range(edge):
                        base = away[0, a] + away[1, b]
                        for c in range(edge):
                            value = cost[at] + base + away[2, c]
                            if value < least:
                                least, best = value, at
                            at += 1
                out[0, i, j, k] = np.float32(best // (edge * edge) - reach)
                out[1, i, j, k] = np.float32(best // edge % edge - reach)
                out[2, i, j, k] = np.float32(best % edge - reach)
