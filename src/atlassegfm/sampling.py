"""Trilinear samples of arrays at many places: what carrying images and labels through a transform spends its time on.

SciPy's ``map_coordinates`` gives the same numbers in one thread and one channel at a time; its time was two thirds of
that of carrying labels (docs/decisions/0006-kernels.md).
"""

from __future__ import annotations

import numpy as np

from atlassegfm.compiled import compiled, run_parts
from atlassegfm.runtime import compute_threads

#: Fewest places that are worth a second thread.
_WORTH_A_THREAD = 50_000


def trilinear(
    values: np.ndarray,
    places: np.ndarray,
    *,
    snap: float = 0.0,
    outside: float | None = None,
    nearest: bool = False,
) -> np.ndarray:
    """Values between voxel centres, the border's value beyond them.

    Parameters
    ----------
    values : numpy.ndarray, shape (I, J, K) or (I, J, K, C)
        Converted to float32.
    places : numpy.ndarray, shape (..., 3)
        Voxel coordinates in the order of the array's axes. A place that is no number gives a value that is none.
    snap : float
        Coordinates nearer than this to a whole number are that number.
    outside : float, optional
        The value farther than half a voxel beyond the outermost centres.
    nearest : bool
        Take the nearest voxel's value; half-way between two the later one's.

    Returns
    -------
    numpy.ndarray, float32, shape (...) or (..., C)
        Computed in double precision.
    """
    channels = values.shape[3:]
    source = np.ascontiguousarray(values, dtype=np.float32).reshape(*values.shape[:3], -1)
    at = np.ascontiguousarray(places, dtype=np.float64).reshape(-1, 3)
    out = np.empty((len(at), source.shape[3]), dtype=np.float32)
    threads = min(compute_threads(), len(at) // _WORTH_A_THREAD)
    beyond = (outside is not None, np.float32(outside or 0.0))
    run_parts(_sample, len(at), threads, source, at, float(snap), *beyond, nearest, out)
    return out.reshape((*np.shape(places)[:-1], *channels))


@compiled
def _snapped(x, snap):  # noqa: ANN001, ANN202
    """The whole number next to `x` if it is nearer than `snap`, else `x`."""
    whole = np.floor(x + 0.5)
    return whole if abs(x - whole) < snap else x


@compiled
def _sample(source, at, snap, cut, fill, nearest, out, first, last):  # noqa: ANN001, ANN202
    """Samples of (I, J, K, C) at voxel coordinates (N, 3), into (N, C), for the places from `first` to `last`."""
    ni, nj, nk, channels = source.shape
    for n in range(first, last):
        x, y, z = at[n, 0], at[n, 1], at[n, 2]
        if np.isnan(x) or np.isnan(y) or np.isnan(z):
            out[n] = np.nan
            continue
        x, y, z = _snapped(x, snap), _snapped(y, snap), _snapped(z, snap)
        if cut and not (-0.5 <= x <= ni - 0.5 and -0.5 <= y <= nj - 0.5 and -0.5 <= z <= nk - 0.5):
            out[n] = fill
            continue
        if nearest:
            x, y, z = np.floor(x + 0.5), np.floor(y + 0.5), np.floor(z + 0.5)
        x, y, z = min(max(x, 0.0), ni - 1.0), min(max(y, 0.0), nj - 1.0), min(max(z, 0.0), nk - 1.0)
        i, j, k = int(x), int(y), int(z)
        u, v, w = x - i, y - j, z - k
        i1, j1, k1 = min(i + 1, ni - 1), min(j + 1, nj - 1), min(k + 1, nk - 1)
        for c in range(channels):
            near = (source[i, j, k, c] * (1.0 - w) + source[i, j, k1, c] * w) * (1.0 - v) + (
                source[i, j1, k, c] * (1.0 - w) + source[i, j1, k1, c] * w
            ) * v
            far = (source[i1, j, k, c] * (1.0 - w) + source[i1, j, k1, c] * w) * (1.0 - v) + (
                source[i1, j1, k, c] * (1.0 - w) + source[i1, j1, k1, c] * w
            ) * v
            out[n, c] = near * (1.0 - u) + far * u
