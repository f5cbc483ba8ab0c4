"""What tells a good registration from a bad one without labels: folds, smoothness, inverse consistency, similarity."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy import ndimage

from atlassegfm.errors import InputError
from atlassegfm.registration.grids import determinant
from atlassegfm.registration.transform import Displacement, Transform
from atlassegfm.resampling import resample_image, resample_labels
from atlassegfm.volume import Grid, Volume

#: Points looked at, at most, where a sample is as good as all of them.
MAX_POINTS = 200_000
#: Voxels whose derivatives are in memory at a time.
SLAB_VOXELS = 250_000
#: Determinants are clipped here before the logarithm is taken, as in the Learn2Reg challenge.
MIN_DETERMINANT = 1e-9
#: Width in mm by which the image is smoothed, relative to its longest edge, before it is split in fore- and background.
FOREGROUND_SMOOTHING = 1.0 / 100.0
#: A foreground smaller than this share of the image, or larger than one minus it, says nothing: everything counts.
MIN_FOREGROUND = 0.02


def foreground(image: Volume) -> np.ndarray:
    """Where the body is: above Otsu's threshold of the smoothed image, holes filled, largest piece.

    Parameters
    ----------
    image : Volume
        Any intensities with a dark background.

    Returns
    -------
    numpy.ndarray of bool, shape image.grid.shape
        All True when no such split is found (a crop inside the body).
    """
    from skimage.filters import threshold_otsu

    sigma = FOREGROUND_SMOOTHING * float(image.grid.extent_mm.max()) / image.spacing
    smooth = ndimage.gaussian_filter(image.data.astype(np.float32), sigma, mode="nearest")
    low, high = np.percentile(smooth, (0.5, 99.5))
    if not high > low:
        return np.ones(image.grid.shape, dtype=bool)
    # Bright vessels and bones must not push the threshold into the body.
    mask = smooth > threshold_otsu(np.clip(smooth, low, low + 0.5 * (high - low)))
    pieces, count = ndimage.label(mask)
    if count > 1:
        mask = pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    mask = ndimage.binary_fill_holes(mask)
    return mask if MIN_FOREGROUND <= mask.mean() <= 1.0 - MIN_FOREGROUND else np.ones_like(mask)


def points_of(grid: Grid, mask: np.ndarray | None = None, most: int = MAX_POINTS) -> np.ndarray:
    """World positions (n, 3) in RAS+ mm of the voxels of `mask`, evenly thinned out to at most `most`.

    Raises
    ------
    InputError
        If the mask is empty or not of the grid's shape.
    """
    mask = np.ones(grid.shape, dtype=bool) if mask is None else np.asarray(mask)
    if mask.shape != grid.shape:
        raise InputError(f"expected a mask of the grid's shape {grid.shape}, got {mask.shape}")
    chosen = np.flatnonzero(mask)
    if chosen.size == 0:
        raise InputError("expected a mask with at least one voxel, got an empty one")
    if chosen.size > most:
        # A fixed seed: a regular stride would see the same few rows of the grid again and again.
        chosen = np.sort(np.random.default_rng(0).choice(chosen, most, replace=False))
    return grid.to_world(np.stack(np.unravel_index(chosen, grid.shape), axis=-1))


def as_displacement(transform: Transform, grid: Grid) -> Displacement:
    """The whole transform as one displacement field on `grid`."""
    vectors = np.empty((*grid.shape, 3), dtype=np.float32)
    for i in range(grid.shape[0]):
        ijk = np.stack(np.meshgrid([i], *(np.arange(n) for n in grid.shape[1:]), indexing="ij"), axis=-1)
        world = grid.to_world(ijk)
        vectors[i] = (transform(world) - world)[0]
    return Displacement(grid, vectors)


def jacobian_determinant(field: Displacement) -> np.ndarray:
    """Determinant of the Jacobian of x + u(x) by central differences, float32, shape ``field.grid.shape``, no unit."""
    # In voxels the determinant is the same, and its differences need no spacing.
    step = np.linalg.inv(field.grid.affine[:3, :3]).astype(np.float32)
    shape = field.grid.shape
    out = np.empty(shape, dtype=np.float32)
    rows = max(1, SLAB_VOXELS // (shape[1] * shape[2]))
    for start in range(0, shape[0], rows):
        stop = min(start + rows, shape[0])
        low, high = max(0, start - 1), min(shape[0], stop + 1)  # central differences need a neighbour
        voxels = np.moveaxis(field.vectors[low:high] @ step.T, -1, 0)
        out[start:stop] = determinant(torch.from_numpy(voxels))[start - low : stop - low].numpy()
    return out


def folding_percent(field: Displacement) -> float:
    """Share of all voxels of the field, in percent, around which x + u(x) folds."""
    return float(100.0 * np.mean(jacobian_determinant(field) <= 0))


def determinants(transform: Transform, mask: Volume) -> tuple[Volume, np.ndarray]:
    """Jacobian determinant of a transform where its folds would show, and the mask there.

    Parameters
    ----------
    transform : Transform
        Fixed to moving.
    mask : Volume of bool
        Where on the fixed image to look.

    Returns
    -------
    determinant : Volume of float32
        On the grid of the displacement field when the transform begins with one, else on the mask's.
    inside : numpy.ndarray of bool
        The mask on that grid.
    """
    first, *rest = transform.stages or (None,)
    grid = first.grid if isinstance(first, Displacement) else mask.grid
    inside = mask.data.astype(np.uint8)
    if grid is not mask.grid:
        inside = resample_labels(Volume(inside, mask.grid), grid, method="nearest").data
    scale = np.float32(np.linalg.det(transform.matrix[:3, :3]))
    if any(isinstance(stage, Displacement) for stage in rest):
        values = jacobian_determinant(as_displacement(transform, grid))
    elif isinstance(first, Displacement):
        values = jacobian_determinant(first) * scale
    else:
        values = np.full(grid.shape, scale)
    return Volume(values, grid), inside > 0


def smoothness(transform: Transform, mask: Volume) -> dict[str, float]:
    """Folds and spread of the volume change inside a mask.

    Parameters
    ----------
    transform : Transform
        Fixed to moving.
    mask : Volume of bool
        Where on the fixed image to look.

    Returns
    -------
    dict
        ``folding_percent``: share of voxels whose determinant is not positive; ``sd_log_jacobian``: standard deviation
        of the logarithm of the determinant (Hering et al., "Learn2Reg", IEEE TMI 42 (2023)); ``jacobian_min`` and
        ``jacobian_max``.
    """
    values, inside = determinants(transform, mask)
    values = values.data[inside].astype(np.float64)
    if values.size == 0:
        return {"folding_percent": 0.0, "sd_log_jacobian": 0.0, "jacobian_min": 1.0, "jacobian_max": 1.0}
    return {
        "folding_percent": float(100.0 * np.mean(values <= 0)),
        "sd_log_jacobian": float(np.std(np.log(np.maximum(values, MIN_DETERMINANT)))),
        "jacobian_min": float(values.min()),
        "jacobian_max": float(values.max()),
    }


def inverse_consistency(forward: Transform, backward: Transform, points: np.ndarray) -> dict[str, float]:
    """How far points come back from where they started: |backward(forward(x)) - x| in mm.

    Parameters
    ----------
    forward, backward : Transform
        Fixed to moving and moving to fixed; two independent registrations, or one and its numerical inverse.
    points : numpy.ndarray, shape (n, 3)
        World points of the fixed image, RAS+ mm.

    Returns
    -------
    dict
        ``inverse_error_mean_mm`` and ``inverse_error_p95_mm``.
    """
    error = np.linalg.norm(backward(forward(points)) - points, axis=-1)
    return {
        "inverse_error_mean_mm": float(error.mean()),
        "inverse_error_p95_mm": float(np.percentile(error, 95)),
    }


def masked_ncc(
    fixed: Volume, moving: Volume, transform: Transform | None = None, mask: np.ndarray | None = None
) -> float:
    """Normalised cross-correlation of the fixed and the warped moving image where both are known.

    Parameters
    ----------
    fixed, moving : Volume
        Images.
    transform : Transform, optional
        Fixed to moving; identity if None.
    mask : numpy.ndarray of bool, shape fixed.grid.shape, optional
        Where to look.

    Returns
    -------
    float
        In [-1, 1]; 0 where fewer than two voxels overlap or one image is constant there.
    """
    warped = resample_image(moving, fixed.grid, transform, fill=np.nan).data
    known = np.isfinite(warped) if mask is None else np.isfinite(warped) & mask
    if np.count_nonzero(known) < 2:
        return 0.0
    a, b = fixed.data[known].astype(np.float64), warped[known].astype(np.float64)
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale > 1e-12 else 0.0


def measure(
    fixed: Volume,
    moving: Volume,
    transform: Transform,
    backward: Transform | None = None,
    mask: np.ndarray | None = None,
) -> dict[str, Any]:
    """Everything above about one registration, for the report.

    Parameters
    ----------
    fixed, moving : Volume
        Images.
    transform : Transform
        Fixed to moving.
    backward : Transform, optional
        Moving to fixed; the numerical inverse if None, whose error is that of the inversion alone.
    mask : numpy.ndarray of bool, optional
        Where on the fixed image to look; its `foreground` if None.

    Returns
    -------
    dict
        JSON-ready: similarity before (positions in the headers), with the affine part alone and after; the keys of
        `smoothness` and `inverse_consistency`.
    """
    mask = foreground(fixed) if mask is None else mask
    backward = transform.inverse() if backward is None else backward
    facts: dict[str, Any] = {
        "similarity_before": masked_ncc(fixed, moving, None, mask),
        "similarity_affine": masked_ncc(fixed, moving, transform.linear_part(), mask),
        "similarity_after": masked_ncc(fixed, moving, transform, mask),
    }
    facts |= smoothness(transform, fixed.with_data(mask))
    return facts | inverse_consistency(transform, backward, points_of(fixed.grid, mask))
