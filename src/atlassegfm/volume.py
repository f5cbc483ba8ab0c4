"""Volumes: an array on a grid. World coordinates are RAS+ millimetres everywhere inside AtlasSegFM."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from atlassegfm.errors import GeometryError
from atlassegfm.points import linear_map

#: Two grids match when no corner voxel centre of one lies farther than this from its twin, in mm.
GRID_TOLERANCE_MM = 1e-3
#: An affine whose axes span less than this part of their box (1 = at right angles) is as good as flat.
MIN_SKEW = 1e-6


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of a 3D array lie in the world.

    Parameters
    ----------
    shape : tuple of int
        Number of voxels along (i, j, k), in the file's own axis order.
    affine : numpy.ndarray, shape (4, 4), float64
        Maps homogeneous voxel indices (voxel centres at integers) to RAS+ mm.

    Raises
    ------
    GeometryError
        If the shape is not three positive integers or the affine is not finite and invertible.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise GeometryError(f"expected a 3D grid with at least one voxel along each axis, got shape {shape}")
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise GeometryError("expected a finite 4x4 voxel-to-world affine")
        if not np.allclose(affine[3], (0, 0, 0, 1)):
            raise GeometryError(f"expected an affine whose last row is 0 0 0 1, got {affine[3].tolist()}")
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(affine[:3, :3], axis=0)
        if (
            lengths.min() <= 0
            or not np.isfinite(lengths).all()
            or abs(np.linalg.det(affine[:3, :3] / lengths)) < MIN_SKEW
        ):
            raise GeometryError("the voxel-to-world affine cannot be inverted (axes without length or in one plane)")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @property
    def spacing(self) -> np.ndarray:
        """Distance between voxel centres along (i, j, k), in mm, shape (3,)."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3])) / 1000.0)

    @property
    def voxel_edge_mm(self) -> float:
        """Edge of the cube with a voxel's volume, in mm: the voxel size of a scan that is as fine in all directions."""
        return float(np.cbrt(1000.0 * self.voxel_volume_ml))

    @property
    def size(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def extent_mm(self) -> np.ndarray:
        """Outer edge lengths along (i, j, k) in mm, whole voxels included, shape (3,)."""
        return self.spacing * np.array(self.shape)

    @property
    def centre(self) -> np.ndarray:
        """World position of the middle of the grid, RAS+ mm, shape (3,)."""
        return self.to_world((np.array(self.shape) - 1) / 2.0)

    @property
    def corners(self) -> np.ndarray:
        """World positions of the eight corner voxel centres, RAS+ mm, shape (8, 3)."""
        last = np.array(self.shape) - 1
        return self.to_world(np.array(list(np.ndindex(2, 2, 2))) * last)

    def to_world(self, ijk: np.ndarray | Sequence[float]) -> np.ndarray:
        """Voxel indices (..., 3) to RAS+ mm (..., 3)."""
        return linear_map(self.affine[:3, :3], ijk, self.affine[:3, 3])

    def to_voxel(self, xyz: np.ndarray | Sequence[float]) -> np.ndarray:
        """RAS+ mm (..., 3) to continuous voxel indices (..., 3)."""
        inverse = np.linalg.inv(self.affine)
        return linear_map(inverse[:3, :3], xyz, inverse[:3, 3])

    def matches(self, other: Grid, tolerance_mm: float = GRID_TOLERANCE_MM) -> bool:
        """Whether both grids have the same shape and the same voxel centres within `tolerance_mm`."""
        if self.shape != other.shape:
            return False
        return bool(np.linalg.norm(self.corners - other.corners, axis=1).max() <= tolerance_mm)

    def cropped(self, box: Sequence[slice]) -> Grid:
        """Grid of the sub-array ``data[box]``; slices need explicit non-negative bounds and no step."""
        start = np.array([s.start for s in box])
        shape = tuple(int(s.stop - s.start) for s in box)
        affine = self.affine.copy()
        affine[:3, 3] = self.to_world(start)
        return Grid(shape, affine)

    def with_spacing(self, spacing_mm: float | Sequence[float]) -> Grid:
        """Grid over the same field of view and axes whose voxels measure `spacing_mm`.

        The outer faces stay centred; the number of voxels is rounded up so that nothing is cut off.
        """
        target = np.broadcast_to(np.asarray(spacing_mm, dtype=np.float64), (3,))
        shape = np.maximum(1, np.ceil(self.extent_mm / target - 1e-6)).astype(int)
        affine = np.eye(4)
        affine[:3, :3] = self.affine[:3, :3] / self.spacing * target
        affine[:3, 3] = self.centre - affine[:3, :3] @ ((shape - 1) / 2.0)
        return Grid(tuple(shape.tolist()), affine)


@dataclass(frozen=True, eq=False)
class Volume:
    """An image or a label map: a 3D array on a `Grid`.

    Parameters
    ----------
    data : numpy.ndarray, shape grid.shape
        Voxel values in the file's own axis order.
    grid : Grid
        Where the voxels are.
    meta : mapping
        What the file reader wants the writer to keep (for example the NIfTI header). Other rooms don't look inside.

    Raises
    ------
    GeometryError
        If the array's shape is not the grid's.
    """

    data: np.ndarray
    grid: Grid
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if tuple(self.data.shape) != self.grid.shape:
            raise GeometryError(f"expected data of the grid's shape {self.grid.shape}, got {self.data.shape}")

    @property
    def affine(self) -> np.ndarray:
        """Voxel-to-world affine of the grid, RAS+ mm, shape (4, 4)."""
        return self.grid.affine

    @property
    def spacing(self) -> np.ndarray:
        """Voxel spacing in mm, shape (3,)."""
        return self.grid.spacing

    def with_data(self, data: np.ndarray) -> Volume:
        """The same grid and file facts with other voxel values."""
        return replace(self, data=data)

    def keeping(self, values: Sequence[int]) -> Volume:
        """A label map with these values alone, others 0."""
        return self.with_data(np.where(np.isin(self.data, values), self.data, 0).astype(self.data.dtype))

    def digest(self) -> str:
        """SHA-256 of the voxels, their type and where they lie."""
        found = hashlib.sha256(f"{self.data.dtype.str} {self.data.shape}".encode())
        found.update(np.ascontiguousarray(self.affine))
        found.update(np.ascontiguousarray(self.data))
        return found.hexdigest()


def bounding_box(mask: np.ndarray, margin: int | Sequence[int] = 0) -> tuple[slice, slice, slice] | None:
    """Smallest box around the non-zero voxels, grown by `margin` voxels per axis and clipped to the array.

    Parameters
    ----------
    mask : numpy.ndarray, 3D
        Anything that can be tested against zero.
    margin : int or three ints
        Voxels to add on each side.

    Returns
    -------
    tuple of slice or None
        None when the mask is empty.
    """
    margins = np.broadcast_to(margin, (3,))
    box = []
    for axis in range(3):
        hits = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        if hits.size == 0:
            return None
        low = max(0, int(hits[0]) - int(margins[axis]))
        high = min(mask.shape[axis], int(hits[-1]) + 1 + int(margins[axis]))
        box.append(slice(low, high))
    return tuple(box)
