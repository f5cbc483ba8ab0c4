"""Two ellipsoids on an anisotropic grid, apart from each other."""

from __future__ import annotations

import numpy as np

from atlassegfm.volume import Grid

GRID = Grid((44, 40, 32), np.diag([1.5, 1.5, 2.0, 1.0]))


def eggs(shift: float = 0.0) -> np.ndarray:
    """Label numbers 1 and 2 on `GRID`, moved by so many voxels along the first axis."""
    i, j, k = np.meshgrid(*map(np.arange, GRID.shape), indexing="ij")
    labels = np.zeros(GRID.shape, np.uint8)
    labels[((i - 16 - shift) / 9) ** 2 + ((j - 20) / 10) ** 2 + ((k - 16) / 8) ** 2 < 1] = 1
    labels[((i - 33 - shift) / 6) ** 2 + ((j - 20) / 8) ** 2 + ((k - 16) / 7) ** 2 < 1] = 2
    return labels
