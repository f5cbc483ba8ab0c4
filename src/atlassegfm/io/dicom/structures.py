"""RTSTRUCT in: named contours become voxels of the image they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from atlassegfm.errors import GeometryError, InputError
from atlassegfm.io.dicom.between import Filled, on_every_slice
from atlassegfm.io.dicom.contours import even_odd, without_doubles
from atlassegfm.io.dicom.geometry import LPS_TO_RAS
from atlassegfm.io.dicom.guard import dicom_errors
from atlassegfm.io.dicom.regions import Region, colour_of, crop
from atlassegfm.label_names import Colour
from atlassegfm.volume import Grid, Volume

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
#: Contours that leave a slice by at most this part of the distance between slices lie in it.
FLAT_VOXELS = 0.25
#: Contours of an oblique plane may leave it by this, mm.
FLAT_MM = 0.5
#: Planes nearer to each other than this part of a slice are one.
SAME_PLANE = 0.05
#: A contour with points this many voxels outside the image is not of this image.
FAR_VOXELS = 1e5


@dataclass(frozen=True, eq=False)
class Structure:
    """One region of interest as drawn.

    Parameters
    ----------
    value : int
        Label value it gets.
    name : str
        ROI Name.
    colour : tuple of int or None
        ROI Display Color.
    contours : list of numpy.ndarray, each shape (n, 3)
        Closed contours, RAS+ mm.
    others : int
        Points and open contours, which enclose nothing.
    frame_of_reference : str
        May be empty.
    """

    value: int
    name: str
    colour: Colour | None
    contours: list[np.ndarray]
    others: int
    frame_of_reference: str


def read_structures(dataset: Dataset, where: object) -> list[Structure]:
    """The structures of an RTSTRUCT.

    Label values are the ROI numbers if those can serve (1 to 65535, all different), else 1, 2, 3 in the file's order.

    Raises
    ------
    InputError
        If the file is damaged or holds no structure.
    """
    with dicom_errors(where, "damaged RTSTRUCT", "export it again"):
        listed = list(dataset.get("StructureSetROISequence") or [])
        drawn = {int(item.ReferencedROINumber): item for item in dataset.get("ROIContourSequence") or []}
        numbers = [int(item.ROINumber) for item in listed]
        usable = len(set(numbers)) == len(numbers) and all(0 < number < 2**16 for number in numbers)
        structures = []
        for n, (number, item) in enumerate(zip(numbers, listed, strict=True), start=1):
            name = " ".join(str(item.get("ROIName") or "").split()) or f"ROI {number}"
            reference = str(item.get("ReferencedFrameOfReferenceUID") or "")
            contours, others = _contours(drawn.get(number))
            colour = colour_of(drawn[number].get("ROIDisplayColor")) if number in drawn else None
            structures.append(Structure(number if usable else n, name, colour, contours, others, reference))
    if not structures:
        raise InputError(f"{where}: the RTSTRUCT has no structure; export it again")
    return structures


def _contours(item: Dataset | None) -> tuple[list[np.ndarray], int]:
    """Closed contours in RAS+ mm, and how many others there are."""
    closed, others = [], 0
    for contour in (item.get("ContourSequence") or []) if item is not None else []:
        points = np.array([float(x) for x in contour.get("ContourData") or []], dtype=np.float64).reshape(-1, 3)
        if not np.isfinite(points).all():
            raise ValueError("contour points that are not finite")
        if str(contour.get("ContourGeometricType") or CLOSED[0]) in CLOSED and len(points) > 2:
            closed.append(points * np.diag(LPS_TO_RAS)[:3])
        else:
            others += 1
    return closed, others


def rasterised(structure: Structure, image: Volume, where: object) -> tuple[Region | None, list[str]]:
    """Voxels of a structure on the image's grid, and what the user should know about it.

    Raises
    ------
    GeometryError
        If a contour is not flat, or the planes of the contours are not parallel.
    """
    grid, notices = image.grid, []
    if structure.others:
        notices.append(f"{structure.name}: {structure.others} points or open contours left out, they enclose nothing")
    if not structure.contours:
        return None, [*notices, f"{structure.name}: nothing is drawn for it"]
    voxels = [grid.to_voxel(points) for points in structure.contours]
    spread = np.max([np.ptp(points, axis=0) for points in voxels], axis=0)
    axis = int(np.argmin(spread))
    if spread[axis] <= FLAT_VOXELS:
        mask, filled = _stacked(voxels, axis, grid)
    else:
        mask, filled = _oblique(structure, grid, where)
        notices.append(f"{structure.name}: drawn on planes oblique to the image's slices; carried over voxel by voxel")
    notices += _told(structure, voxels, grid, filled)
    return crop(structure.value, mask), notices


def _told(structure: Structure, voxels: list[np.ndarray], grid: Grid, filled: Filled) -> list[str]:
    notices = []
    if filled.slices:
        notices.append(f"{structure.name}: {filled.slices} slices between contours filled in (nothing was drawn there)")
    if filled.left:
        notices.append(f"{structure.name}: nothing is drawn on {filled.left} slices inside it; left empty")
    last = np.array(grid.shape) - 0.5
    outside = sum(bool((points < -0.5).any() or (points > last).any()) for points in voxels)
    if outside:
        notices.append(f"{structure.name}: {outside} of {len(voxels)} contours leave the image; cut off there")
    return notices


def _stacked(voxels: Sequence[np.ndarray], axis: int, grid: Grid) -> tuple[np.ndarray, Filled]:
    """Voxels of contours that are flat along one axis of a grid, given in voxel coordinates."""
    across = [a for a in range(3) if a != axis]
    shape = (grid.shape[across[0]], grid.shape[across[1]])
    at = np.array([points[:, axis].mean() for points in voxels])
    order = np.argsort(at, kind="stable")
    breaks = np.flatnonzero(np.diff(at[order]) > SAME_PLANE) + 1
    planes = {}
    for members in np.split(order, breaks):
        position = float(at[members].mean())
        if -1 <= position <= grid.shape[axis]:
            polygons = without_doubles([voxels[n][:, across] for n in members])
            planes[position] = even_odd([np.clip(p, -FAR_VOXELS, FAR_VOXELS) for p in polygons], shape)
    if not planes:
        return np.zeros(grid.shape, dtype=bool), Filled(0, 0)
    pixel = (float(grid.spacing[across[0]]), float(grid.spacing[across[1]]))
    stacked, filled = on_every_slice(planes, grid.shape[axis], float(grid.spacing[axis]), pixel)
    return np.moveaxis(stacked, 2, axis), filled


def _oblique(structure: Structure, grid: Grid, where: object) -> tuple[np.ndarray, Filled]:
    """Voxels of contours on planes that are no slices of the grid: filled on a grid of their own, then carried over."""
    from atlassegfm.resampling import resample_labels

    own = _grid_of(structure, grid, where)
    mask, filled = _stacked([own.to_voxel(points) for points in structure.contours], 2, own)
    moved = resample_labels(Volume(mask.astype(np.uint8), own), grid)
    return moved.data > 0, filled


def _grid_of(structure: Structure, grid: Grid, where: object) -> Grid:
    """A grid whose slices are the planes of the contours, its pixels as fine as the image's finest."""
    largest = max(structure.contours, key=len)
    axes = np.linalg.svd(largest - largest.mean(axis=0), full_matrices=False)[2]
    if len(largest) < 3 or max(np.ptp(points @ axes[2]) for points in structure.contours) > FLAT_MM:
        raise GeometryError(
            f"{where}: the contours of {structure.name!r} do not lie in parallel planes; draw them on slices or give a "
            "label map"
        )
    along = np.sort([float((points @ axes[2]).mean()) for points in structure.contours])
    steps = np.diff(along)
    steps = steps[steps > FLAT_MM]
    fine = float(grid.spacing.min())
    step = float(np.median(steps)) if steps.size else float(grid.spacing.max())
    points = np.concatenate(structure.contours) @ axes.T
    low, high = points.min(axis=0), points.max(axis=0)
    size = np.array([fine, fine, step])
    shape = np.ceil((high - low) / size + (3, 3, 1)).astype(int)
    affine = np.eye(4)
    affine[:3, :3] = axes.T * size
    affine[:3, 3] = axes.T @ (low - (fine, fine, 0))
    if np.prod(shape.astype(float)) > 2**30:
        raise GeometryError(f"{where}: the contours of {structure.name!r} are larger than any scan; export them again")
    return Grid(tuple(shape.tolist()), affine)
