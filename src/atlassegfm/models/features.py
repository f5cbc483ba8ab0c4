"""What the voxelwise model looks at: the image around a voxel, and where the voxel lies relative to the prior.

All lengths are in mm, so that thick slices and fine ones give comparable features. Intensities enter as ranks within
the neighbourhood of the prior: whatever monotone contrast separates two scanners is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import edt
import numpy as np
from scipy import ndimage

from atlassegfm.runtime import compute_threads, side_by_side
from atlassegfm.volume import bounding_box

#: Scales of the smoothed intensities, in units of the cube root of the voxel volume.
SCALES = (0.0, 0.7, 1.5, 3.0)
#: Distances to the six neighbours whose intensities are compared, same unit.
OFFSETS = (2.0, 5.0)
#: Bins of the intensity histograms inside and around the prior.
BINS = 32


def signed_distance(mask: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Distance to the border of a mask in mm, negative inside, float32.

    Parameters
    ----------
    mask : numpy.ndarray of bool, 3D
        The border runs half-way between a foreground voxel centre and its background neighbour.
    spacing : array of 3 floats
        Voxel spacing in mm.
    """
    if not mask.any() or mask.all():
        far = np.float32(np.linalg.norm(np.array(mask.shape) * spacing))
        return np.full(mask.shape, -far if mask.any() else far, dtype=np.float32)
    anisotropy, threads = tuple(float(s) for s in spacing), compute_threads()
    out = edt.edt(np.ascontiguousarray(~mask), anisotropy=anisotropy, black_border=False, parallel=threads)
    # With a voxel of the other kind all around, as far as there is one, nothing beyond the box matters.
    box = bounding_box(mask, margin=1)
    out[box] -= edt.edt(np.ascontiguousarray(mask[box]), anisotropy=anisotropy, black_border=False, parallel=threads)
    # edt measures between centres: half a voxel lies on each side of the border.
    half = 0.5 * float(np.min(spacing))
    return np.where(mask, out + half, out - half).astype(np.float32)


def rank_intensities(image: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Intensities as their quantile within `region`, in [0, 1] there, float32.

    Beyond the region's range the rank is extrapolated linearly up to -0.25 and 1.25, so that air stays apart from the
    darkest tissue.
    """
    values = image[region]
    levels = np.linspace(0.0, 1.0, 65)
    knots = np.quantile(values, levels)
    knots = np.maximum.accumulate(knots + np.arange(65) * 1e-7 * max(1e-6, knots[-1] - knots[0]))
    spread = max(knots[-1] - knots[0], 1e-6)
    knots = np.r_[knots[0] - spread, knots, knots[-1] + spread]
    return np.interp(image, knots, np.r_[-0.25, levels, 1.25]).astype(np.float32)


def _shifted(image: np.ndarray, axis: int, voxels: int) -> np.ndarray:
    """Value at +voxels along the axis, border repeated."""
    index = np.clip(np.arange(image.shape[axis]) + voxels, 0, image.shape[axis] - 1)
    return np.take(image, index, axis=axis)


def image_features(ranks: np.ndarray, spacing: np.ndarray, dtype: type = np.float32) -> list[np.ndarray]:
    """One array per feature, shape of `ranks`: scale space, edges, texture, surroundings."""
    unit = float(np.prod(spacing) ** (1.0 / 3.0))

    def smooth(image: np.ndarray, scale: float) -> np.ndarray:
        return ndimage.gaussian_filter(image, scale * unit / spacing, mode="nearest", truncate=3.0)

    smoothed = side_by_side(lambda scale: smooth(ranks, scale), SCALES)

    def slope(image: np.ndarray) -> np.ndarray:
        slopes = [np.gradient(image, axis=a) / spacing[a] for a in range(3) if image.shape[a] > 1]
        return unit * np.sqrt(sum(slope * slope for slope in slopes))

    def texture() -> np.ndarray:
        return np.sqrt(np.maximum(smooth(ranks * ranks, SCALES[2]) - smoothed[2] ** 2, 0.0))

    def aside(source: np.ndarray, axis: int, voxels: int) -> np.ndarray:
        return _shifted(source, axis, voxels) - source

    wanted = [partial(np.asarray, image) for image in smoothed]
    wanted += [partial(slope, image) for image in smoothed[1:3]]
    wanted += [partial(np.subtract, smoothed[fine], smoothed[coarse]) for fine, coarse in ((0, 2), (1, 3))]
    wanted.append(texture)
    for distance in OFFSETS:
        source = smoothed[1] if distance < 3 else smoothed[2]
        for axis in range(3):
            voxels = max(1, round(distance * unit / spacing[axis]))
            wanted += [partial(aside, source, axis, sign * voxels) for sign in (-1, 1)]
    # Each is converted when it is made, so that no more than a few are in memory at full precision.
    return side_by_side(lambda make: make().astype(dtype, copy=False), wanted)


def _log_ratio(values: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Log ratio of the smoothed histograms of `values` over two regions, at 64 ranks from -0.25 to 1.25."""
    edges = np.linspace(-0.25, 1.25, BINS + 1)
    parts = []
    for region in (inside, outside):
        counts = np.histogram(values[region], bins=edges)[0].astype(np.float64)
        counts = ndimage.gaussian_filter1d(counts, 1.0, mode="nearest")
        parts.append((counts + 0.5) / (counts.sum() + 0.5 * BINS))
    return np.log(parts[0] / parts[1])


def appearance_features(
    ranks: np.ndarray, distance: np.ndarray, reach: float, spacing: np.ndarray
) -> Iterator[np.ndarray]:
    """How much more common an intensity is in the core of the prior than around it, *in this image*.

    Parameters
    ----------
    ranks : numpy.ndarray
        From `rank_intensities`.
    distance : numpy.ndarray
        Signed distance to the prior in mm.
    reach : float
        How far off the prior may be, in mm.
    spacing : array of 3 floats
        Voxel spacing in mm.
    """
    depth = float(-distance.min())
    core = distance <= -min(0.5 * reach, 0.5 * depth)
    around = (distance > 0.5 * reach) & (distance <= 2.0 * reach)
    if not core.any() or not around.any():
        core, around = distance <= 0, distance > 0
    centres = np.linspace(-0.25, 1.25, 2 * BINS + 1)[1::2]
    unit = float(np.prod(spacing) ** (1.0 / 3.0))
    smoothed = ndimage.gaussian_filter(ranks, unit / spacing, mode="nearest", truncate=3.0)
    for values in (ranks, smoothed):
        ratio = np.interp(values, centres, _log_ratio(values, core, around)).astype(np.float32)
        yield ratio
        yield ndimage.gaussian_filter(ratio, 1.5 * unit / spacing, mode="nearest", truncate=3.0)


def prior_features(distance: np.ndarray, rivals: np.ndarray, reach: float, spacing: np.ndarray) -> Iterator[np.ndarray]:
    """Where a voxel lies relative to the prior and to the other labels' priors.

    Parameters
    ----------
    distance : numpy.ndarray
        Signed distance to the label's prior in mm.
    rivals : numpy.ndarray of bool
        Union of all other labels' priors.
    reach : float
        Scale of the soft prior in mm.
    spacing : array of 3 floats
        Voxel spacing in mm.
    """
    yield distance
    yield np.clip(signed_distance(rivals, spacing), -3 * reach, 3 * reach)
    # Large distances are cheap to smooth on: the distance map's own blur tells convex from concave surroundings.
    yield ndimage.uniform_filter(distance, np.maximum(1, 2 * np.round(0.5 * reach / spacing) + 1).astype(int))
