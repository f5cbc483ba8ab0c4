"""Chains of compiled loops as one call on one thread, for images that are too small to be worth another.

A thread that calls loop after loop has to get the interpreter's lock back between them, and where two threads work side
by side each of them waits for the other. Within a chain nobody waits (docs/decisions/0006-kernels.md). Each computes to
the bit what the loops do one by one; the tests hold them side by side.
"""

from __future__ import annotations

import numpy as np

from atlassegfm.compiled import compiled, compiled_exactly
from atlassegfm.registration.discrete_kernels import cheapest
from atlassegfm.registration.kernels import convolve_across, convolve_planes, longest, warp


@compiled
def convolve(x, weights, norms, between, out):  # noqa: ANN001, ANN201
    """Convolve (C, I, J, K) along its last three axes; `norms` are those of the axes, `between` is room to work in."""
    slabs = x.shape[0] * x.shape[1]
    convolve_planes(x, weights, norms[1], norms[2], between, 0, slabs)
    convolve_across(between, weights, norms[0], out, 0, slabs)


@compiled_exactly
def step(u, force, length, still, update, field, out):  # noqa: ANN001, ANN201
    """What `Operators.step` computes, into `out`; whether there was anything to follow.

    `update` and `field` are weights and norms of the two smoothings, `still` is a matrix (3, 4) that moves nothing.
    """
    _, ni, nj, nk = u.shape
    between, v = np.empty_like(u), np.empty_like(u)
    convolve(force, update[0], update[1], between, v)
    most = np.empty(ni, np.float32)
    longest(v, most, 0, ni)
    size = np.float64(np.sqrt(most.max()))
    if size < 1e-12:
        return False
    v *= np.float32(length / size)
    moved, seen = np.empty_like(u), np.empty((ni, nj, nk), np.float32)
    warp(u, still, v, moved, seen, 0, ni)
    moved += v
    convolve(moved, field[0], field[1], between, out)
    return True


@compiled
def settled(costs, weights, reach, smoothing, u):  # noqa: ANN001, ANN201
    """All rounds of `discrete`'s choice: the cheapest displacements for each of the weights, smoothed, into `u`.

    `u` (3, I, J, K) is what the first of them is held to; `smoothing` are weights and norms.
    """
    chosen, between = np.empty_like(u), np.empty_like(u)
    for weight in weights:
        cheapest(costs, u, weight, reach, chosen, 0, u.shape[1])
        convolve(chosen, smoothing[0], smoothing[1], between, u)


@compiled_exactly
def reconciled(there, back, still, rounds):  # noqa: ANN001, ANN201
    """What `Operators.reconciled` computes, in place."""
    planes, half = there.shape[1], np.float32(0.5)
    a, b, seen = np.empty_like(there), np.empty_like(there), np.empty(there.shape[1:], np.float32)
    for _ in range(rounds):
        warp(back, still, there, a, seen, 0, planes)
        warp(there, still, back, b, seen, 0, planes)
        there[:] = half * (there - a)
        back[:] = half * (back - b)
