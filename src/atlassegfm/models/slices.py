"""A volume as a stack of pictures, for models that see 2D: which plane, which slices, what is drawn on each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlassegfm.models.intensity import check_window, windowed
from atlassegfm.models.preparation import PLANES, Oriented
from atlassegfm.options import check_bounds
from atlassegfm.prompts import THRESHOLD, central_voxel, largest_component, slice_axis
from atlassegfm.volume import Grid, Volume

AUTO = "auto"


@dataclass(frozen=True)
class SliceOptions:
    """Options of models that see slices.

    Parameters
    ----------
    axis : {"auto", "axial", "coronal", "sagittal"}
        Plane of the slices; auto is the one in which the scan was acquired.
    window : str
        Grey levels; see `atlassegfm.models.intensity`.
    """

    axis: str = AUTO
    window: str = "auto"

    def __post_init__(self) -> None:
        check_bounds(self, {"axis": (self.axis in (AUTO, *PLANES), f"one of {', '.join((AUTO, *PLANES))}")})
        check_window(self.window)


class Stack:
    """An image as slices, first axis through the slices, rows and columns as pictures are shown.

    Parameters
    ----------
    image : Volume
        The scan.
    options : SliceOptions
        Plane and grey levels.
    """

    def __init__(self, image: Volume, options: SliceOptions) -> None:
        self.axes = Oriented(image.grid, PLANES[plane_of(image.grid, options.axis)])
        #: (slices, rows, columns), uint8.
        self.pictures = np.round(self.axes.array(windowed(image, options.window)) * 255.0).astype(np.uint8)

    @property
    def spacing(self) -> np.ndarray:
        """Of slices, rows and columns, in mm."""
        return self.axes.grid.spacing

    @property
    def in_plane(self) -> tuple[float, float]:
        """Spacing of rows and columns in mm."""
        return float(self.spacing[1]), float(self.spacing[2])

    def mask(self, membership: np.ndarray) -> np.ndarray:
        """A membership of the image's grid as a stack of bool."""
        return self.axes.array(membership >= THRESHOLD)


def plane_of(grid: Grid, axis: str = AUTO) -> str:
    """Name of the plane across which `slice_axis` runs, or the one asked for."""
    if axis != AUTO:
        return axis
    chosen = slice_axis(grid)
    codes = {plane: Oriented(grid, letters) for plane, letters in PLANES.items()}
    direction = grid.affine[:3, chosen] / grid.spacing[chosen]
    first = {plane: o.grid.affine[:3, 0] / o.grid.spacing[0] for plane, o in codes.items()}
    return max(first, key=lambda plane: abs(float(first[plane] @ direction)))


def slices_of(grid: Grid, options: SliceOptions) -> int:
    """Number of slices."""
    return Oriented(grid, PLANES[plane_of(grid, options.axis)]).grid.shape[0]


def centre_of(mask: np.ndarray, in_plane: tuple[float, float]) -> tuple[int, int]:
    """(row, column) of the click on a slice: `prompts.central_voxel` of its largest component."""
    component, corner = largest_component(mask[None])
    _, row, column = central_voxel(component, np.array([1.0, *in_plane]))
    return row + corner[1], column + corner[2]


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of a slice's voxels: first and last column and row, both within the mask, as SAM takes boxes."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


def edges_of(box: tuple[int, int, int, int]) -> tuple[float, float, float, float]:
    """Outer edges (x0, y0, x1, y1) of a box, counted from the picture's corner: what fills the box exactly."""
    return float(box[0]), float(box[1]), box[2] + 1.0, box[3] + 1.0


def centre_at(point: tuple[int, int]) -> tuple[float, float]:
    """Centre (x, y) of a voxel, counted from the picture's corner; a voxel can be tens of the network's pixels wide."""
    return point[0] + 0.5, point[1] + 0.5


def middle_slice(mask: np.ndarray) -> int:
    """Slice that halves the largest component of a stack, as for a box2d."""
    component, corner = largest_component(mask)
    return corner[0] + (component.shape[0] - 1) // 2
