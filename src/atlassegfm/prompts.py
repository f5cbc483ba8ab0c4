"""Step 2: what the warped atlas label M_atlas tells the model: a mask, a click, a box, a scribble or a lasso.

The prompts of the paper ("Atlas is Your Perfect Context", arXiv 2512.18176). M_atlas counts as foreground where its
membership is at least one half. Where the paper leaves a choice, this module takes these:

* **click**: the paper's "centre of the largest connected component" is the voxel of the component (26-connected) that
  lies nearest its centre of mass, in mm. For a convex component that is the voxel holding the centre; for a concave
  one, whose centre may lie outside, it still is a voxel of the component. Among voxels equally near, and among
  components of equal size, the first in C order wins.
* **box**: the tight box around all of M_atlas, so that a label made of several parts is not cut down to one.
* **box2d**: the tight box around M_atlas on the middle slice. Slices run across the slice axis (`slice_axis`); the
  middle one halves the extent of the largest component along it, so it always meets the component.
* **lasso**: M_atlas on that middle slice, filled. Not in the paper, as is
* **scribble**: the skeleton of M_atlas on that middle slice (Zhang and Suen 1984), the line that a hand would draw.
* **mask**: M_atlas itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from skimage.morphology import skeletonize

from atlassegfm.errors import InputError
from atlassegfm.models.info import KINDS
from atlassegfm.volume import Grid, bounding_box

#: Membership from which a voxel counts as foreground.
THRESHOLD = 0.5
#: Spacings within this share of the largest one count as equal when the slice axis is chosen.
EQUAL_SPACING = 0.01
#: Voxels whose distances to the centre differ by less than this many mm are equally near: rounding decides nothing.
TIE_MM = 1e-6

Point = tuple[int, int, int]
Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Prompt:
    """What a model is told about one label; indices count the voxels of the image's grid.

    Parameters
    ----------
    kind : {"mask", "click", "box", "box2d", "scribble", "lasso"}
        What the model is meant to use.
    value : int
        Label value.
    mask : numpy.ndarray, shape grid.shape, float32
        M_atlas: membership of the label in [0, 1]. Always there.
    rivals : numpy.ndarray, shape grid.shape, float32
        Sum of the other labels' memberships, at most 1; zeros where there are none.
    point : tuple of three int, optional
        The click, a voxel of M_atlas; only for kind click.
    box : three (start, stop) pairs, optional
        Half-open box; for box, box2d, scribble and lasso. All but the first are one voxel thick along `axis`.
    axis, slice_index : int, optional
        Slice axis and the slice of the click, box2d, scribble or lasso; None for mask and box.
    drawn : numpy.ndarray of bool, shape of the box, optional
        The voxels of the scribble or lasso.
    """

    kind: str
    value: int
    mask: np.ndarray
    rivals: np.ndarray
    point: Point | None = None
    box: Box | None = None
    axis: int | None = None
    slice_index: int | None = None
    drawn: np.ndarray | None = None


def make_prompt(
    kind: str, membership: np.ndarray, grid: Grid, value: int, rivals: np.ndarray | None = None
) -> Prompt | None:
    """Derive a prompt from the warped atlas label.

    Parameters
    ----------
    kind : {"mask", "click", "box", "box2d", "scribble", "lasso"}
        Which prompt to make.
    membership : numpy.ndarray, shape grid.shape
        M_atlas in [0, 1].
    grid : Grid
        Grid of the image; gives the spacing in mm.
    value : int
        Label value.
    rivals : numpy.ndarray, shape grid.shape, optional
        Sum of the other labels' memberships; values above 1 are clipped.

    Returns
    -------
    Prompt or None
        None when no voxel of M_atlas reaches `THRESHOLD`: an empty M_atlas prompts nothing.

    Raises
    ------
    InputError
        If the kind is unknown, or an array is not finite or has another shape than the grid.
    """
    if kind not in KINDS:
        raise InputError(f"unknown kind of prompt {kind!r}: choose one of {', '.join(KINDS)}")
    mask = _checked(membership, grid, "M_atlas")
    foreground = mask >= THRESHOLD
    if not foreground.any():
        return None
    others = np.zeros(grid.shape, dtype=np.float32) if rivals is None else _checked(rivals, grid, "rivals")
    if kind == "mask":
        return Prompt(kind, value, mask, others)
    if kind == "box":
        return Prompt(kind, value, mask, others, box=_box_of(foreground))
    axis = slice_axis(grid)
    component, corner = largest_component(foreground)
    if kind == "click":
        point = _shifted(central_voxel(component, grid.spacing), corner)
        return Prompt(kind, value, mask, others, point=point, axis=axis, slice_index=point[axis])
    # A connected component has no gap along an axis, so its middle slice is never empty.
    middle = corner[axis] + (component.shape[axis] - 1) // 2
    box = list(_box_of(foreground.take([middle], axis=axis)))
    box[axis] = (middle, middle + 1)
    drawn = _drawn(kind, foreground[tuple(slice(*pair) for pair in box)], axis)
    return Prompt(kind, value, mask, others, box=tuple(box), axis=axis, slice_index=middle, drawn=drawn)


def _drawn(kind: str, slab: np.ndarray, axis: int) -> np.ndarray | None:
    """The voxels of a scribble or lasso on a slab that is one voxel thick; None for a box."""
    if kind == "box2d":
        return None
    if kind == "lasso":
        return slab.copy()
    # Padded: a shape that fills its array has no border from which thinning could begin.
    flat = np.pad(slab.take(0, axis=axis), 1)
    return np.expand_dims(skeletonize(flat)[1:-1, 1:-1], axis)


def slice_axis(grid: Grid) -> int:
    """Axis across which the slices of a scan run.

    The axis of the largest spacing, because that is how 2D slices are acquired; among axes of equal spacing
    (`EQUAL_SPACING`) the one closest to superior-inferior in the world, then the last one.
    """
    spacing = grid.spacing
    along_si = np.abs(grid.affine[2, :3]) / spacing
    candidates = [a for a in range(3) if spacing[a] >= spacing.max() * (1.0 - EQUAL_SPACING)]
    return max(candidates, key=lambda a: (round(float(along_si[a]), 6), a))


def largest_component(mask: np.ndarray) -> tuple[np.ndarray, Point]:
    """Largest 26-connected component, cut out.

    Parameters
    ----------
    mask : numpy.ndarray of bool, 3D
        At least one voxel set.

    Returns
    -------
    tuple
        Boolean array of the component's tight bounding box, and the index of that box's first voxel in `mask`.

    Raises
    ------
    InputError
        If the mask is empty.
    """
    outer = bounding_box(mask)
    if outer is None:
        raise InputError("expected a mask with at least one voxel, got an empty one")
    # cc3d numbers components by its scan order, which follows the memory layout: C order makes ties repeatable.
    parts = cc3d.connected_components(np.ascontiguousarray(mask[outer]).view(np.uint8), connectivity=26)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    ties = np.flatnonzero(sizes == sizes.max())
    flat = parts.ravel()
    winner = ties[0] if ties.size == 1 else flat[np.isin(flat, ties).argmax()]
    component = parts == winner
    inner = bounding_box(component)
    corner = tuple(o.start + i.start for o, i in zip(outer, inner, strict=True))
    return component[inner], corner


def central_voxel(component: np.ndarray, spacing: np.ndarray) -> Point:
    """Voxel of the component nearest its centre of mass.

    Parameters
    ----------
    component : numpy.ndarray of bool, 3D
        At least one voxel set.
    spacing : array of three float
        Voxel spacing in mm: distances are measured in mm.
    """
    voxels = np.argwhere(component)
    # The sums are whole numbers, so the centre does not depend on the order of summation.
    centre = voxels.sum(axis=0) / len(voxels)
    distance = np.linalg.norm((voxels - centre) * np.asarray(spacing), axis=1)
    nearest = np.flatnonzero(distance <= distance.min() + TIE_MM)[0]
    return tuple(int(v) for v in voxels[nearest])


def _checked(array: np.ndarray, grid: Grid, name: str) -> np.ndarray:
    """The array as float32 in [0, 1]; shape and finiteness checked."""
    array = np.asarray(array)
    if array.shape != grid.shape:
        raise InputError(f"{name}: expected the grid's shape {grid.shape}, got {array.shape}")
    array = array.astype(np.float32, copy=False)
    low, high = float(array.min()), float(array.max())
    if not np.isfinite(low + high):
        raise InputError(f"{name}: expected finite memberships, got NaN or infinity")
    return array if low >= 0.0 and high <= 1.0 else np.clip(array, 0.0, 1.0)


def _box_of(mask: np.ndarray) -> Box:
    return tuple((s.start, s.stop) for s in bounding_box(mask))


def _shifted(point: Point, corner: Point) -> Point:
    return tuple(p + c for p, c in zip(point, corner, strict=True))
