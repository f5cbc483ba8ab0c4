"""What a file format's reader hands over: voxels as stored, their scaling, their grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from atlassegfm.errors import GeometryError
from atlassegfm.volume import Grid


@dataclass(frozen=True, eq=False)
class StoredImage:
    """A 3D image as it lies in a file.

    Parameters
    ----------
    data : numpy.ndarray, 3D, integer or floating
        Stored values in the file's axis order, any byte order.
    grid : Grid
        RAS+ mm.
    slope, inter : float
        True value = stored value * slope + inter.
    meta : mapping
        File facts for `Volume.meta`.
    """

    data: np.ndarray
    grid: Grid
    slope: float = 1.0
    inter: float = 0.0
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scaled(self) -> bool:
        """Whether stored and true values differ."""
        return (self.slope, self.inter) != (1.0, 0.0)

    def values(self, dtype: np.dtype | type) -> np.ndarray:
        """True values as a C-ordered array of `dtype` in native byte order; scaling is done in float64."""
        with np.errstate(over="ignore", invalid="ignore"):
            if not self.scaled:
                return np.ascontiguousarray(self.data, dtype=dtype)
            out = np.empty(self.data.shape, dtype=dtype)
            # A slice at a time, across the longest stride: no float64 copy of the whole image, no jumps in memory.
            axis = int(np.argmax(self.data.strides))
            stored, scaled = np.moveaxis(self.data, axis, 0), np.moveaxis(out, axis, 0)
            for n in range(stored.shape[0]):
                scaled[n] = stored[n] * np.float64(self.slope) + np.float64(self.inter)
            return out


def make_grid(path: object, shape: tuple[int, int, int], affine: np.ndarray) -> Grid:
    """`Grid` of a file; its errors name the file and the cure."""
    try:
        return Grid(shape, affine)
    except GeometryError as error:
        raise GeometryError(f"{path}: {error}; set a valid orientation and voxel size in the file") from error
