"""A whole descent as one compiled call on one thread, for images too small to be worth another; see `descent`.

It computes to the bit what the steps do one by one; why one call, see `chains`.
"""

from __future__ import annotations

import numpy as np

from atlassegfm.compiled import compiled_exactly
from atlassegfm.registration.chains import step
from atlassegfm.registration.kernels import edges, warp
from atlassegfm.registration.lncc_kernels import lncc, mean

#: A step that lowers the LNCC shortens the next ones by this factor, down to this part of the first.
STEP_SHRINK = 0.7
SHORTEST_STEP = 0.2
#: So many steps have to gain so much on average, as part of the value, for others to follow.
WINDOW, SLOPE = 10, 1e-4


@compiled_exactly
def paced(history, taken, best, length, first):  # noqa: ANN001, ANN201
    """What the last of the `taken` values of `history` means for the descent.

    Returns whether it is better than `best`, the length of the next step, of which the `first` had another, and whether
    there should be a next one.
    """
    value = history[taken - 1]
    better = value > best
    if not better:
        length *= STEP_SHRINK
        if length < SHORTEST_STEP * first:
            return better, length, False
    if taken <= WINDOW:
        return better, length, True
    gain = (value - history[taken - 1 - WINDOW]) / WINDOW
    return better, length, not gain < SLOPE * max(value, 1e-3)


@compiled_exactly
def _force(f, m, seen, box, noise, out, value, count):  # noqa: ANN001, ANN202
    lncc(f, m, seen, box, noise, out, value, count, 0, len(value))
    return mean(value, count)


@compiled_exactly
def descent(target, image, matrix, known, share, box, noises, still, update, field, first, u, best, history):  # noqa: ANN001, ANN201
    """Steps from `u`, which is lost, to the `best` displacement met; returns how many values `history` was given.

    `target` and `known` are (I, J, K), `image` (1, I', J', K'), `matrix` and `still` (3, 4); the displacements are
    (3, I, J, K). `share` is what the LNCC of the edges counts, `noises` are those of intensities and edges, `box` is
    the window, `update` and `field` are weights and norms of the two smoothings, `first` is the length of a step.
    """
    planes = target.shape[0]
    moved, seen = np.empty((1, *target.shape), np.float32), np.empty_like(target)
    force, pull, after = np.empty_like(u), np.empty_like(u), np.empty_like(u)
    value, count = np.empty(planes), np.empty(planes)
    marks, steep = np.empty_like(target), np.empty_like(target)
    if share > 0.0:
        edges(target, marks, 0, planes)
    length, most = first, -1.0
    best[:] = u
    for at in range(len(history)):
        warp(image, matrix, u, moved, seen, 0, planes)
        seen *= known
        if share > 0.0:
            edges(moved[0], steep, 0, planes)
            told = _force(marks, steep, seen, box, noises[1], force, value, count)
            if share < 1.0:
                plain = _force(target, moved[0], seen, box, noises[0], pull, value, count)
                told = share * told + (1.0 - share) * plain
                force *= np.float32(share)
                pull *= np.float32(1.0 - share)
                force += pull
        else:
            told = _force(target, moved[0], seen, box, noises[0], force, value, count)
        history[at] = told
        better, length, further = paced(history, at + 1, most, length, first)
        if better:
            best[:] = u
            most = told
        if not further or not step(u, force, length, still, update, field, after):
            return at + 1
        u, after = after, u
    return len(history)
