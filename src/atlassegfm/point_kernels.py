"""The compiled loop of `points`; apart, because importing the compiler takes a third of a second."""

from __future__ import annotations

from atlassegfm.compiled import compiled_exactly


@compiled_exactly
def map_points(matrix, shift, points, out, first, last):  # noqa: ANN001, ANN201
    """``matrix @ point + shift`` for (N, 3) points from `first` to `last`, rounded as NumPy does."""
    for n in range(first, last):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        for axis in range(3):
            out[n, axis] = matrix[axis, 0] * x + matrix[axis, 1] * y + matrix[axis, 2] * z + shift[axis]
