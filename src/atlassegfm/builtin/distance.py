"""Signed distances that are cut at a few voxels: compiled, because the network's inputs cost little else."""

from __future__ import annotations

import numpy as np

from atlassegfm.compiled import compiled


@compiled
def _along_lines(mask: np.ndarray, far: int, out: np.ndarray) -> None:
    """Squared distance to the next voxel of the other kind along the last axis, no more than ``far**2``.

    The first of the two results counts for voxels of the mask and is zero elsewhere, the second the other way round.
    """
    count = mask.shape[2]
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            line, own = mask[i, j], out[0, i, j]
            since = far
            for k in range(count):
                since = 1 if k and line[k] != line[k - 1] else min(since + 1, far)
                own[k] = since
            since = far
            for k in range(count - 1, -1, -1):
                since = 1 if k + 1 < count and line[k] != line[k + 1] else min(since + 1, far)
                nearest = min(own[k], since) ** 2
                own[k] = nearest if line[k] else 0
                out[1, i, j, k] = 0 if line[k] else nearest


@compiled
def _across_lines(before: np.ndarray, reach: int, out: np.ndarray) -> None:
    """Lower envelope over the middle axis of three: a line `step` away adds ``step**2``."""
    count = before.shape[1]
    for i in range(before.shape[0]):
        for j in range(count):
            best = out[i, j]
            best[:] = before[i, j]
            for other in range(max(0, j - reach), min(count, j + reach + 1)):
                add, line = np.int16((other - j) ** 2), before[i, other]
                for k in range(best.shape[0]):
                    there = np.int16(line[k] + add)
                    best[k] = there if there < best[k] else best[k]


def signed_distance(mask: np.ndarray, reach: int) -> np.ndarray:
    """Distance to the border of `mask` in voxels, positive inside, exact up to `reach` and cut there.

    The border runs between voxels: the innermost and outermost voxels lie half a voxel from it. Separable as in
    Felzenszwalb and Huttenlocher (Theory of Computing 8, 2012), by comparison because the reach is short.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (I, J, K)
        An empty mask gives ``-reach`` everywhere, a full one ``reach``.
    reach : int
        Voxels.

    Returns
    -------
    numpy.ndarray, float32, shape (I, J, K)
    """
    mask = np.ascontiguousarray(mask, dtype=bool)
    (width, rows, columns), far = mask.shape, reach + 1
    lines = np.empty((2, *mask.shape), dtype=np.int16)
    planes = np.empty_like(lines)
    _along_lines(mask, far, lines)
    _across_lines(lines.reshape(2 * width, rows, columns), reach, planes.reshape(2 * width, rows, columns))
    _across_lines(planes.reshape(2, width, -1), reach, lines.reshape(2, width, -1))
    inside, outside = np.sqrt(lines, dtype=np.float32)
    distance = np.where(mask, inside - np.float32(0.5), np.float32(0.5) - outside)
    return np.clip(distance, -reach, reach)
