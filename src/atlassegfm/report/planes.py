"""Anatomical planes through a label: which slices to show, how much of them, with which grey levels.

Everything here works on arrays whose axes point to the patient's right, anterior and superior (RAS), the nearest such
order of the file's own axes. Pictures follow the radiological convention: the patient's right is on the left.
"""

from __future__ import annotations

from dataclasses import dataclass

import nibabel as nib
import numpy as np

from atlassegfm.volume import Grid, bounding_box

#: A window shows this much around a label, in mm, and at least this part of the label's size.
MARGIN_MM = 12.0
MARGIN_FRACTION = 0.2
#: No window is smaller than this, mm: smaller ones show nothing but blur.
MIN_WINDOW_MM = 40.0
#: Voxels darker than this part of the intensity range count as air.
AIR_FRACTION = 0.1


@dataclass(frozen=True)
class Plane:
    """How one anatomical plane lies on the picture.

    Parameters
    ----------
    name : str
        axial, coronal or sagittal.
    normal, across, down : int
        RAS axes that point out of the picture, along its width and along its height.
    letters : tuple of str
        Patient directions at the left, right, top and bottom edge.

    Notes
    -----
    Both picture axes run against the RAS axes (first column = rightmost or most anterior, first row = most anterior or
    superior); that is the radiological convention for all three.
    """

    name: str
    normal: int
    across: int
    down: int
    letters: tuple[str, str, str, str]


PLANES = (
    Plane("axial", 2, 0, 1, ("R", "L", "A", "P")),
    Plane("coronal", 1, 0, 2, ("R", "L", "S", "I")),
    Plane("sagittal", 0, 1, 2, ("A", "P", "S", "I")),
)


@dataclass(frozen=True)
class Anatomical:
    """The way from a file's axis order to RAS order."""

    orientation: np.ndarray
    spacing: np.ndarray
    shape: tuple[int, int, int]
    affine: np.ndarray
    tilt_degrees: float

    @classmethod
    def of(cls, grid: Grid) -> Anatomical:
        """Nearest RAS order of the axes of `grid`."""
        orientation = nib.orientations.io_orientation(grid.affine)
        back = nib.orientations.inv_ornt_aff(orientation, grid.shape)
        affine = grid.affine @ back
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        cosines = np.diag(affine[:3, :3] / spacing)
        shape = np.empty(3, dtype=int)
        shape[orientation[:, 0].astype(int)] = grid.shape
        tilt = float(np.degrees(np.arccos(np.clip(cosines.min(), -1.0, 1.0))))
        return cls(orientation, spacing, tuple(shape.tolist()), affine, tilt)

    def reorder(self, data: np.ndarray) -> np.ndarray:
        """View of `data` with axes R, A, S; no interpolation."""
        return nib.orientations.apply_orientation(data, self.orientation)

    def position(self, axis: int, index: int) -> str:
        """Where a slice along a RAS axis lies in the world, such as "S 39.2 mm" (at the centre of an oblique one)."""
        ijk = (np.array(self.shape) - 1) / 2.0
        ijk[axis] = index
        mm = float(self.affine[axis, :3] @ ijk + self.affine[axis, 3])
        return f"{('LR', 'PA', 'IS')[axis][mm >= 0]} {abs(mm):.1f} mm"


@dataclass(frozen=True)
class View:
    """One pane: a slice and the square window of it that is shown.

    Parameters
    ----------
    plane : Plane
        Which anatomical plane.
    index : int
        Slice along the plane's normal, in RAS order.
    centre_mm : tuple of float
        Middle of the window across and down the picture, in mm from the picture's first column and row.
    side_mm : float
        Side of the window.
    """

    plane: Plane
    index: int
    centre_mm: tuple[float, float]
    side_mm: float


def picture(data: np.ndarray, plane: Plane, index: int) -> np.ndarray:
    """Slice of a RAS array as picture rows and columns (row 0 on top)."""
    plane_data = np.take(data, index, axis=plane.normal)
    if plane.across < plane.down:
        plane_data = plane_data.T
    return plane_data[::-1, ::-1]


def choose_views(mask: np.ndarray, spacing: np.ndarray, surroundings: np.ndarray | None = None) -> list[View]:
    """Per plane the slice where `mask` is largest, with a square window around the whole label.

    Parameters
    ----------
    mask : numpy.ndarray of bool, RAS order
        Not empty.
    spacing : numpy.ndarray, shape (3,)
        mm along R, A, S.
    surroundings : numpy.ndarray of bool, RAS order, optional
        What the window has to show beside the label itself.
    """
    box = bounding_box(mask if surroundings is None else mask | surroundings)
    views = []
    for plane in PLANES:
        area = np.count_nonzero(mask, axis=(plane.across, plane.down))
        # Of equally large slices take the middle one, so that a tube is not shown at its end.
        largest = np.flatnonzero(area == area.max())
        index = int(largest[len(largest) // 2])
        extents, middles = [], []
        for axis in (plane.across, plane.down):
            low, high = box[axis].start, box[axis].stop
            extents.append((high - low) * spacing[axis])
            middles.append((mask.shape[axis] - (low + high) / 2.0) * spacing[axis])
        longest = float(max(extents))
        side = max(MIN_WINDOW_MM, longest + 2 * max(MARGIN_MM, MARGIN_FRACTION * longest))
        views.append(View(plane, index, (float(middles[0]), float(middles[1])), side))
    return views


def grey_window(data: np.ndarray, mask: np.ndarray, spacing: np.ndarray) -> tuple[float, float]:
    """Grey levels for a label: percentiles of what is not air in the region around it.

    Taking them around the label, not over the scan, keeps soft tissue readable beside bone and metal.
    """
    margin = np.ceil(2 * MARGIN_MM / spacing).astype(int)
    region = data[bounding_box(mask, margin.tolist())]
    low, high = np.percentile(data[::2, ::2, ::2] if min(data.shape) > 8 else data, (0.5, 99.5))
    tissue = region[region > low + AIR_FRACTION * (high - low)]
    if tissue.size < 32:
        tissue = region
    bottom, top = np.percentile(tissue, (1.0, 99.0))
    pad = 0.08 * (top - bottom)
    if top <= bottom:
        return float(data.min()), float(max(data.max(), data.min() + 1e-6))
    return float(bottom - pad), float(top + pad)


def scale_bar_mm(side_mm: float) -> int:
    """A round length of about a quarter of the window."""
    return next((mm for mm in (200, 100, 50, 20, 10, 5) if mm <= side_mm / 3.0), 5)
