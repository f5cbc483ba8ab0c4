"""Points through a matrix, without BLAS.

A product of thousands of points with a 3x3 matrix gives BLAS nothing to gain: it took four times as long here, and in
several threads it promises no bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
    x, y, z = (points[..., axis] for axis in range(3))
    out = np.empty(points.shape)
    for axis, (a, b, c) in enumerate(linear):
        out[..., axis] = a * x + b * y + c * z + shift[axis]
    return out
