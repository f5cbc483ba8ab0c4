"""Points through a matrix, without BLAS.

A product of thousands of points with a 3x3 matrix gives BLAS nothing to gain: it took four times as long here, and in
several threads it promises no bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlassegfm.runtime import compute_threads

#: Fewest points that are worth compiled loops, and a second thread.
_MANY, _WORTH_A_THREAD = 20_000, 100_000


def linear_map(
    linear: np.ndarray, points: np.ndarray | Sequence[float], shift: np.ndarray | Sequence[float] = (0.0, 0.0, 0.0)
) -> np.ndarray:
    """``linear @ point + shift`` for each point.

    Parameters
    ----------
    linear : numpy.ndarray, shape (3, 3)
    points : array_like, shape (..., 3)
        Any unit and frame that the matrix takes.
    shift : array_like, shape (3,)

    Returns
    -------
    numpy.ndarray, float64, shape (..., 3)
    """
    points = np.asarray(points, dtype=np.float64)
    out = np.empty(points.shape)
    if points.size // 3 >= _MANY:
        return _mapped(linear, points, shift, out)
    x, y, z = (points[..., axis] for axis in range(3))
    for axis, (a, b, c) in enumerate(linear):
        out[..., axis] = a * x + b * y + c * z + shift[axis]
    return out


def _mapped(linear: np.ndarray, points: np.ndarray, shift: np.ndarray | Sequence[float], out: np.ndarray) -> np.ndarray:
    """The same bits from compiled loops."""
    # Imported late: the compiler.
    from atlassegfm.compiled import run_parts
    from atlassegfm.point_kernels import map_points

    flat = np.ascontiguousarray(points).reshape(-1, 3)
    matrix, shift = (np.ascontiguousarray(x, dtype=np.float64) for x in (linear, shift))
    threads = min(compute_threads(), len(flat) // _WORTH_A_THREAD)
    run_parts(map_points, len(flat), threads, matrix, shift, flat, out.reshape(-1, 3))
    return out
