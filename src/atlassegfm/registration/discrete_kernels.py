"""Compiled loops of the search over discrete displacements.

Features are (C, I, J, K) float32 in [0, 1]; costs are (I, J, D, K) uint16, which hold as many as there are in half the
memory, `FINENESS` standing for 1. D counts the displacements of a cube of edge ``2 * reach + 1`` with the last axis
fastest: the innermost loops run along K, several voxels at a time. Slabs are planes of the first axis unless a kernel
says otherwise.
"""

from __future__ import annotations

import numpy as np

from atlassegfm.compiled import compiled

#: The cost of features that differ by 1 everywhere.
FINENESS = 65535.0


@compiled
def _rounded(cost):  # noqa: ANN001, ANN202
    # By way of 32 bits: straight to 16 the compiler takes one value at a time.
    return np.uint16(np.int32(cost + np.float32(0.5)))


@compiled
def match_costs(fixed, moving, seen, reach, costs, first, last):  # noqa: ANN001, ANN201
    """Mean squared difference of the features of each voxel and of those each displacement away in `moving`.

    It is averaged with both neighbours along the last axis; `average_lines` does the other axes.
    `moving` (C, I, J, K + 2 * reach) and `seen` (the same without channels; 0 or 1) have a border of zeros at both ends
    of the last axis. Where `moving` is not seen nothing speaks for or against a displacement: it costs what the others
    do on average.
    """
    channels, ni, nj, nk = fixed.shape
    scale, one, third, half = np.float32(FINENESS / channels), np.float32(1.0), np.float32(1.0 / 3.0), np.float32(0.5)
    value, usual, known = np.empty(nk, np.float32), np.empty(nk, np.float32), np.empty(nk, np.float32)
    line = np.empty((costs.shape[2], nk), np.float32)
    for i in range(first, last):
        for j in range(nj):
            usual[:], known[:] = np.float32(0.0), np.float32(0.0)
            at = 0
            for a in range(i - reach, i + reach + 1):
                for b in range(j - reach, j + reach + 1):
                    inside = 0 <= a < ni and 0 <= b < nj
                    for c in range(2 * reach + 1):
                        if inside:
                            value[:] = np.float32(0.0)
                            for n in range(channels):
                                for k in range(nk):
                                    step = fixed[n, i, j, k] - moving[n, a, b, c + k]
                                    value[k] += step * step
                            for k in range(nk):
                                sees, cost = seen[a, b, c + k], value[k] * scale
                                usual[k] += sees * cost
                                known[k] += sees
                                line[at, k] = sees * cost - (one - sees)
                        else:
                            line[at, :] = -one
                        at += 1
            for k in range(nk):
                usual[k] /= max(known[k], one)
            for at in range(costs.shape[2]):
                for k in range(nk):
                    cost = line[at, k]
                    value[k] = usual[k] if cost < 0.0 else cost
                # While they are at hand: the mean with the neighbours along the last axis.
                for k in range(1, nk - 1):
                    costs[i, j, at, k] = _rounded(third * (value[k - 1] + value[k] + value[k + 1]))
                costs[i, j, at, 0] = _rounded(half * (value[0] + value[min(1, nk - 1)]))
                costs[i, j, at, nk - 1] = _rounded(half * (value[max(0, nk - 2)] + value[nk - 1]))


@compiled
def average_lines(costs, first, last):  # noqa: ANN001, ANN201
    """Replace costs (A, N, B, D) by their mean with both neighbours along the second axis, in place.

    Slabs are the A * B lines.
    """
    _, count, across, size = costs.shape
    before, own = np.empty(size, np.uint16), np.empty(size, np.uint16)
    third, half = np.float32(1.0 / 3.0), np.float32(0.5)
    if count == 1:
        return
    for line in range(first, last):
        a, b = line // across, line % across
        here, after = costs[a, 0, b], costs[a, 1, b]
        before[:] = here
        for n in range(size):
            here[n] = _rounded(half * (np.float32(before[n]) + np.float32(after[n])))
        for at in range(1, count - 1):
            here, after = costs[a, at, b], costs[a, at + 1, b]
            own[:] = here
            for n in range(size):
                here[n] = _rounded(third * (np.float32(before[n]) + np.float32(own[n]) + np.float32(after[n])))
            before, own = own, before
        here = costs[a, count - 1, b]
        for n in range(size):
            here[n] = _rounded(half * (np.float32(before[n]) + np.float32(here[n])))


@compiled
def cheapest(costs, near, weight, reach, out, first, last):  # noqa: ANN001, ANN201
    """Displacement (3, I, J, K) of least cost plus `weight` times its squared distance from `near` (3, I, J, K).

    `weight` is in the units of the costs.
    """
    _, nj, _, nk = costs.shape
    edge = 2 * reach + 1
    away = np.empty((3, edge, nk), np.float32)
    base, least, best = np.empty(nk, np.float32), np.empty(nk, np.float32), np.empty(nk, np.int32)
    for i in range(first, last):
        for j in range(nj):
            for axis in range(3):
                for n in range(edge):
                    for k in range(nk):
                        step = np.float32(n - reach) - near[axis, i, j, k]
                        away[axis, n, k] = weight * step * step
            least[:], best[:] = np.float32(np.inf), np.int32(0)
            at = np.int32(0)
            for a in range(edge):
                for b in range(edge):
                    for k in range(nk):
                        base[k] = away[0, a, k] + away[1, b, k]
                    for c in range(edge):
                        for k in range(nk):
                            value = np.float32(costs[i, j, at, k]) + base[k] + away[2, c, k]
                            less = value < least[k]
                            least[k] = value if less else least[k]
                            best[k] = at if less else best[k]
                        at += np.int32(1)
            for k in range(nk):
                out[0, i, j, k] = np.float32(best[k] // (edge * edge) - reach)
                out[1, i, j, k] = np.float32(best[k] // edge % edge - reach)
                out[2, i, j, k] = np.float32(best[k] % edge - reach)
