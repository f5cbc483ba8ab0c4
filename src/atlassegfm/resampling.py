"""Resampling of images and label maps from one grid to another, through a transform if there is one.

A voxel covers half a voxel to each side of its centre: samples in that rim take the border value, samples beyond it
lie outside the field of view and take the fill value (images) or background (label maps).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from scipy import ndimage

from atlassegfm.axiswise import resampled_along_axes
from atlassegfm.competition import LabelCompetition
from atlassegfm.errors import InputError
from atlassegfm.sampling import trilinear
from atlassegfm.volume import Grid, Volume, bounding_box

#: Maps world points (..., 3) of the target grid to world points of the source, RAS+ mm.
PointMap = Callable[[np.ndarray], np.ndarray]
#: Sample positions nearer than this (in voxels) to a voxel centre are that centre: makes identity exact.
SNAP_VOXELS = 1e-6
#: Where Gaussians end, in standard deviations.
TRUNCATE = 3.0
#: Voxels handled at a time, which bounds the memory that coordinates take.
CHUNK_VOXELS = 2_000_000
#: Standard deviation, in source voxels, of the kernel behind ``method="gaussian"``.
GAUSSIAN_SIGMA_VOXELS = 1.0
#: A label that would keep less than this part of its own voxels under that kernel is too thin for it.
FEWEST_KEPT = 0.8
#: Maps are probed at every so many voxels.
PROBE = 4
LABEL_METHODS = ("linear", "gaussian", "nearest")


def _sampled_through(
    values: np.ndarray,
    source: Grid,
    grid: Grid,
    transform: PointMap | None,
    fill: float = 0.0,
    *,
    nearest: bool = False,
) -> np.ndarray:
    """Values of `source` at the voxels of `grid`, float32; `fill` outside the source's field of view."""
    out = np.empty(grid.shape, dtype=np.float32)
    per_slab = max(1, CHUNK_VOXELS // max(1, grid.shape[1] * grid.shape[2]))
    for start in range(0, grid.shape[0], per_slab):
        stop = min(grid.shape[0], start + per_slab)
        if transform is None:
            coords = _lattice(np.linalg.inv(source.affine) @ grid.affine, (start, stop), grid.shape)
        else:
            coords = source.to_voxel(transform(_lattice(grid.affine, (start, stop), grid.shape)))
        out[start:stop] = trilinear(values, coords, snap=SNAP_VOXELS, outside=fill, nearest=nearest)
    return out


def _lattice(matrix: np.ndarray, rows: tuple[int, int], shape: tuple[int, int, int]) -> np.ndarray:
    """Where the matrix (4, 4) takes the voxels of some rows along i of an array: (n, J, K, 3)."""
    i, j, k = np.ogrid[rows[0] : rows[1], : shape[1], : shape[2]]
    out = np.empty((rows[1] - rows[0], *shape[1:], 3))
    for axis, (a, b, c, shift) in enumerate(matrix[:3]):
        out[..., axis] = (a * i + b * j + shift) + c * k
    return out


def antialiasing_sigma(factor: np.ndarray) -> np.ndarray:
    """Width in source voxels of the Gaussian that goes before sampling at voxels `factor` times as large, per axis.

    The usual rule sigma = sqrt(f^2 - 1) / 2 keeps a voxel's point spread matched to the new voxel size.
    """
    return 0.5 * np.sqrt(np.maximum(factor**2 - 1.0, 0.0))


def _sigma(source: Grid, grid: Grid) -> np.ndarray:
    """`antialiasing_sigma` per axis of the source, along which the voxels of `grid` are measured."""
    source_axes = source.affine[:3, :3] / source.spacing
    target = np.abs(source_axes.T @ grid.affine[:3, :3]).max(axis=1)
    return antialiasing_sigma(target / source.spacing)


def resample_image(
    volume: Volume,
    grid: Grid,
    transform: PointMap | None = None,
    *,
    antialias: bool = False,
    fill: float = 0.0,
) -> Volume:
    """Trilinear resampling of an image.

    Parameters
    ----------
    volume : Volume
        Image to sample.
    grid : Grid
        Grid of the result.
    transform : callable, optional
        World points of `grid` to world points of `volume`, RAS+ mm; identity if None.
    antialias : bool
        Blur first where the result's voxels are larger than the source's.
    fill : float
        Value outside the source's field of view.

    Returns
    -------
    Volume
        float32 data on `grid`. On the source's own grid without transform the values are bit-identical.
    """
    data, source = volume.data.astype(np.float32, copy=False), volume.grid
    sigma = _sigma(source, grid) if antialias else np.zeros(3)
    if sigma.max() < 1e-3:
        return Volume(_sampled_through(data, source, grid, transform, fill), grid)
    if transform is None:
        out = resampled_along_axes(data, source, grid, sigma, truncate=TRUNCATE, snap=SNAP_VOXELS, fill=fill)
        if out is not None:
            return Volume(out, grid)
    smooth = ndimage.gaussian_filter(data, sigma, mode="nearest", truncate=TRUNCATE)
    return Volume(_sampled_through(smooth, source, grid, transform, fill), grid)


def _probed(grid: Grid, source: Grid, transform: PointMap | None) -> tuple[list[np.ndarray], np.ndarray]:
    """Every `PROBE`th voxel index along each axis, the last one too, and where these voxels lie in `source`, voxels."""
    axes = [np.unique(np.append(np.arange(0, n, PROBE), n - 1)) for n in grid.shape]
    world = grid.to_world(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))
    return axes, source.to_voxel(world if transform is None else transform(world))


def reach(grid: Grid, source: Grid, transform: PointMap | None, box: tuple[slice, ...]) -> tuple[slice, ...] | None:
    """Box of `grid` outside which no voxel can sample the voxels `box` of `source`.

    The map is probed on every `PROBE`th voxel; the margin covers what lies between probes for maps that stretch
    less than twofold, as a diffeomorphic registration does.
    """
    step = PROBE
    axes, coords = _probed(grid, source, transform)
    slack = 1.0 + 2.0 * step * np.linalg.norm(grid.affine[:3, :3], axis=0).max() / source.spacing
    low = np.array([s.start for s in box]) - slack
    high = np.array([s.stop for s in box]) - 1 + slack
    found = bounding_box(((coords >= low) & (coords <= high)).all(axis=-1))
    if found is None:
        return None
    return tuple(
        slice(max(0, int(a[s.start]) - step), min(n, int(a[s.stop - 1]) + step + 1))
        for a, s, n in zip(axes, found, grid.shape, strict=True)
    )


def label_membership_crop(
    labels: Volume, value: int, grid: Grid, transform: PointMap | None = None, *, method: str = "linear"
) -> tuple[tuple[slice, ...], np.ndarray] | None:
    """Fractional membership of one label on the part of `grid` that it can reach.

    Returns
    -------
    tuple or None
        (box of `grid`, float32 membership in [0, 1] of that box); None when the label is absent or out of reach.
    """
    if method not in LABEL_METHODS:
        raise InputError(f"expected a label resampling method out of {', '.join(LABEL_METHODS)}, got {method!r}")
    box = bounding_box(labels.data == value, margin=3)
    if box is None:
        return None
    target = reach(grid, labels.grid, transform, box)
    if target is None:
        return None
    mask = (labels.data[box] == value).astype(np.float32)
    if method == "gaussian":
        mask = _smoothed(mask)
    source, part = labels.grid.cropped(box), grid.cropped(target)
    return target, _sampled_through(mask, source, part, transform, nearest=method == "nearest")


def _smoothed(mask: np.ndarray) -> np.ndarray:
    """Mask (0 and 1, float32) under the Gaussian kernel; as it is where that would dissolve a vessel or a sheet.

    Scaled so that as many voxels exceed one half as the mask has: a kernel alone shrinks what is convex.
    """
    smooth = ndimage.gaussian_filter(mask, GAUSSIAN_SIGMA_VOXELS, mode="nearest", truncate=TRUNCATE)
    count = np.count_nonzero(mask)
    border = np.partition(smooth, smooth.size - count, axis=None)[smooth.size - count]
    smooth = np.minimum(smooth * np.float32(0.5 / max(border, 1e-3)), 1.0)
    kept = np.count_nonzero((smooth >= 0.5) & (mask > 0))
    return smooth if kept >= FEWEST_KEPT * count else mask


def label_membership(
    labels: Volume, value: int, grid: Grid, transform: PointMap | None = None, *, method: str = "linear"
) -> np.ndarray:
    """Fractional membership of one label on the whole of `grid`, float32 in [0, 1], shape ``grid.shape``."""
    out = np.zeros(grid.shape, dtype=np.float32)
    found = label_membership_crop(labels, value, grid, transform, method=method)
    if found is not None:
        out[found[0]] = found[1]
    return out


def warp_labels(labels: Volume, grid: Grid, transform: PointMap) -> Volume:
    """Label map carried through a registration: `resample_labels` by the method that measures best for it.

    See docs/decisions/0002-registration.md ("Carrying labels") and `carrying_method`.
    """
    return resample_labels(labels, grid, transform, method=carrying_method(labels.grid, grid, transform))


def warp_labels_apart(labels: Volume, grid: Grid, transforms: Mapping[int, PointMap]) -> Volume:
    """As `warp_labels`, each label through a transform of its own.

    Parameters
    ----------
    labels : Volume
        Label map with integer values; 0 is background.
    grid : Grid
        Grid of the result.
    transforms : mapping of int to callable
        Per label that is carried: world points of `grid` to world points of `labels`, RAS+ mm.
    """
    ways = ((value, way, carrying_method(labels.grid, grid, way)) for value, way in transforms.items())
    return _competing(labels, grid, ways)


def carrying_method(source: Grid, grid: Grid, transform: PointMap) -> str:
    """How labels are carried through a registration: "gaussian", unless voxels come to lie on voxels.

    Then nothing has to be interpolated, and the labels stay what they are.
    """
    coords = _probed(grid, source, transform)[1]
    return "linear" if np.abs(coords - np.round(coords)).max() < SNAP_VOXELS else "gaussian"


def resample_labels(labels: Volume, grid: Grid, transform: PointMap | None = None, *, method: str = "linear") -> Volume:
    """Label-safe resampling: each label's membership is sampled on its own, the largest one wins.

    Background competes with the membership that is left over, and wins ties; between labels the lower value wins.

    Parameters
    ----------
    labels : Volume
        Label map with integer values; 0 is background.
    grid : Grid
        Grid of the result.
    transform : callable, optional
        World points of `grid` to world points of `labels`, RAS+ mm.
    method : {"linear", "gaussian", "nearest"}
        Interpolation of the memberships. Gaussian smooths the staircase of the voxels away before it interpolates: a
        contour drawn slice by slice knows its border no better than that. Labels too thin for it are taken linearly.

    Returns
    -------
    Volume
        Label map of the same integer type on `grid`.
    """
    return _competing(labels, grid, ((value, transform, method) for value in np.unique(labels.data) if value != 0))


def _competing(labels: Volume, grid: Grid, ways: Iterable[tuple[int, PointMap | None, str]]) -> Volume:
    """The label map that comes of labels (value, transform, method) which compete for the voxels of `grid`."""
    competition = LabelCompetition(grid.shape, labels.data.dtype)
    for value, transform, method in ways:
        found = label_membership_crop(labels, value, grid, transform, method=method)
        if found is not None:
            competition.add(value, found[1], found[0])
    return Volume(competition.result(), grid)
