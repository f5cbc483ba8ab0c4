"""Geometry that models want, and the exact way back: axis order, spacing, window of fixed size.

Each step is an object made for one grid: it takes arrays, points and boxes there, and answers back. Axes are reordered
by nibabel's orientation functions, never by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np

from atlassegfm.prompts import Box, Point
from atlassegfm.resampling import resample_image
from atlassegfm.volume import Grid, Volume

#: Axis order of stacks of slices, by the plane: slices, rows, columns, each in the direction in which its index grows.
#: Rows run towards posterior or inferior and columns towards the left or posterior, as pictures are shown.
PLANES = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}


class Oriented:
    """The axes of a grid in another order and direction: a permutation with flips, so nothing is interpolated.

    Parameters
    ----------
    grid : Grid
        Where arrays come from. Of an oblique grid the nearest order is taken.
    codes : str
        Three letters, the directions in which the first, second and third index grow, such as "RAS" or "SPL".

    Attributes
    ----------
    grid : Grid
        Where reordered arrays lie; voxels are where they were in the world.
    """

    def __init__(self, grid: Grid, codes: str) -> None:
        start = nib.orientations.io_orientation(grid.affine)
        end = nib.orientations.axcodes2ornt(tuple(codes))
        self._source = grid
        self._there = nib.orientations.ornt_transform(start, end)
        self._back = nib.orientations.ornt_transform(end, start)
        shape = tuple(grid.shape[int(a)] for a in np.argsort(self._there[:, 0]))
        self.grid = Grid(shape, grid.affine @ nib.orientations.inv_ornt_aff(self._there, grid.shape))

    def array(self, data: np.ndarray) -> np.ndarray:
        """An array of the source grid, reordered; contiguous."""
        return np.ascontiguousarray(nib.orientations.apply_orientation(data, self._there))

    def back(self, data: np.ndarray) -> np.ndarray:
        """A reordered array as one of the source grid; contiguous."""
        return np.ascontiguousarray(nib.orientations.apply_orientation(data, self._back))

    def point(self, voxel: Point) -> Point:
        """A voxel of the source grid in the new order."""
        moved = [0, 0, 0]
        for axis, (target, flip) in enumerate(self._there):
            moved[int(target)] = int(voxel[axis]) if flip > 0 else self._source.shape[axis] - 1 - int(voxel[axis])
        return tuple(moved)

    def box(self, box: Box) -> Box:
        """A half-open box of the source grid in the new order."""
        first = self.point(tuple(start for start, _ in box))
        last = self.point(tuple(stop - 1 for _, stop in box))
        return tuple((min(a, b), max(a, b) + 1) for a, b in zip(first, last, strict=True))


@dataclass(frozen=True)
class Window:
    """A box of fixed size on an array, which may reach beyond the array's edges.

    Parameters
    ----------
    start, size : tuple of three int
        First voxel (may be negative) and number of voxels.
    """

    start: Point
    size: Point

    @classmethod
    def around(cls, mask: np.ndarray, size: Point) -> Window:
        """Centred on the middle of the mask's bounding box; an empty mask counts as all of it."""
        voxels = np.argwhere(mask) if mask.any() else np.array([[0, 0, 0], np.array(mask.shape) - 1])
        middle = (voxels.min(axis=0) + voxels.max(axis=0) + 1) // 2
        return cls(tuple(int(m) - n // 2 for m, n in zip(middle, size, strict=True)), size)

    def _overlap(self, shape: Point) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
        """Where window and array meet: (box of the array, box of the window)."""
        low = [max(0, s) for s in self.start]
        high = [max(lo, min(n, s + size)) for lo, n, s, size in zip(low, shape, self.start, self.size, strict=True)]
        inner = tuple(slice(lo - s, hi - s) for lo, hi, s in zip(low, high, self.start, strict=True))
        return tuple(slice(lo, hi) for lo, hi in zip(low, high, strict=True)), inner

    def cut(self, data: np.ndarray, fill: float = 0.0) -> np.ndarray:
        """The window's part of the array; beyond the edges `fill`."""
        out = np.full(self.size, fill, dtype=data.dtype)
        outer, inner = self._overlap(data.shape)
        out[inner] = data[outer]
        return out

    def paste(self, answer: np.ndarray, into: np.ndarray) -> np.ndarray:
        """A copy of `into` with the window's part replaced by `answer`."""
        out = into.astype(answer.dtype, copy=True)
        outer, inner = self._overlap(into.shape)
        out[outer] = answer[inner]
        return out

    def point(self, voxel: Point) -> Point:
        """A voxel of the array as one of the window."""
        return tuple(int(v) - s for v, s in zip(voxel, self.start, strict=True))


class Resampled:
    """A grid with other voxel sizes over the same field of view, and the way back that loses no detail of the prior.

    Parameters
    ----------
    grid : Grid
        Where arrays come from.
    spacing_mm : float
        Edge of the new voxels.
    """

    def __init__(self, grid: Grid, spacing_mm: float) -> None:
        self.source, self.grid = grid, grid.with_spacing(spacing_mm)

    def array(self, data: np.ndarray) -> np.ndarray:
        """An image or membership on the new grid, linearly interpolated, float32; outside of it the minimum."""
        return resample_image(Volume(data, self.source), self.grid, antialias=True, fill=float(data.min())).data

    def point(self, voxel: Point) -> Point:
        """The new voxel that holds the centre of a voxel of the source grid."""
        at = np.round(self.grid.to_voxel(self.source.to_world(voxel)))
        return tuple(int(v) for v in np.clip(at, 0, np.array(self.grid.shape) - 1))

    def back(self, answer: np.ndarray, prior: np.ndarray, prepared: np.ndarray) -> np.ndarray:
        """A probability of the new grid on the source grid.

        Coarse voxels cannot hold a fine mask: even a model that returns its prompt would give back a rounded one. What
        the round trip alone takes from the prior is therefore given back as far as the model agrees with the prior:
        ``U(answer) + (prior - U(prepared)) * max(0, 1 - 2 |U(answer) - U(prepared)|)``, U being the way back. Where the
        model says the prior's own value, that is the prior exactly; where it differs by half or more, it is the model.

        Parameters
        ----------
        answer : numpy.ndarray, shape of the new grid
            Probability in [0, 1].
        prior : numpy.ndarray, shape of the source grid
            Membership in [0, 1].
        prepared : numpy.ndarray, shape of the new grid
            What `array` made of the prior.
        """
        found, rounded = self._up(answer), self._up(prepared)
        agreement = np.maximum(0.0, 1.0 - 2.0 * np.abs(found - rounded))
        return np.clip(found + (prior - rounded) * agreement, 0.0, 1.0).astype(np.float32)

    def _up(self, data: np.ndarray) -> np.ndarray:
        return resample_image(Volume(data, self.grid), self.source).data
