"""A share of the result for what the warped atlas shows in look-alike places nearby.

After a good registration the atlas's label is off by a voxel or two, and the place that a query's voxel corresponds to
lies that near. Each voxel x takes the mean of the label l over the places y of a small window, weighted by how much
the patches P there look like its own: non-local label propagation, Coupe et al., "Patch-based segmentation using expert
priors: application to hippocampus and ventricle segmentation", NeuroImage 54 (2011) 940-954,

    v(x) = sum_y w(x, y) l(y) / sum_y w(x, y),   w(x, y) = exp(-|P(x) - P(y)|^2 / h(x)),   h(x) ~ min_y |P(x) - P(y)|^2

with one atlas that is registered. Nothing is learnt, so it errs in other ways than a model that was taught on the
atlas's own intensities. It has a say where the two images look alike (docs/decisions/0005-fusion.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from atlassegfm.compiled import run_parts
from atlassegfm.correlation import windowed_correlation
from atlassegfm.fusion.lookalike_kernels import vote
from atlassegfm.runtime import compute_threads
from atlassegfm.volume import bounding_box

#: Reach of the window in which patches are compared, and of a patch, in cube roots of the voxel volume.
REACH, PATCH = 2.0, 1.0
#: Surroundings of the label in which contrasts are matched, in the same unit.
SURROUNDINGS = 6.0
#: The weights fall to 1/e where a patch differs so many times as much as the best one does.
WIDTH = 2.0
#: Least difference of two patches, as part of the squared contrast: no two look more alike than noise lets them.
LEAST = 1e-3
#: Percentiles between which the contrast is measured.
PERCENTILES = (5.0, 95.0)
#: The label's border is softened by so many voxels before it is propagated.
SOFTENED = 0.7
#: Share of the look-alikes: what the mean local correlation of the images has beyond this, so one half at the most.
UNRELATED = 0.5


def follow_lookalikes(
    fused: np.ndarray, label: np.ndarray, image: np.ndarray, warped: np.ndarray, spacing: Sequence[float]
) -> np.ndarray:
    """The fused map, with a share for the label as look-alike patches propagate it.

    Parameters
    ----------
    fused : numpy.ndarray, 3D float32
        Probability in [0, 1].
    label : numpy.ndarray, same shape
        The atlas's label as it was carried over, 0 to 1.
    image : numpy.ndarray, same shape
        Intensities of the query.
    warped : numpy.ndarray, same shape
        Intensities of the atlas, carried over likewise.
    spacing : three floats
        Voxel spacing in mm.

    Returns
    -------
    numpy.ndarray
        float32 in [0, 1], same shape. Unchanged where the whole window lies within the label or outside of it, and as
        a whole where the images are not alike.
    """
    size = np.array(spacing, dtype=np.float64)
    reach, patch, around = (_voxels(part, size) for part in (REACH, PATCH, SURROUNDINGS))
    box = bounding_box(label >= 0.5, around)
    if box is None:
        return fused
    claimed, here, there = label[box] >= 0.5, image[box], warped[box]
    window = 2 * reach + 1
    open_to_both = ndimage.maximum_filter(claimed, window) & ~ndimage.minimum_filter(claimed, window)
    if not open_to_both.any():
        return fused
    share = float(windowed_correlation(here, there, window)[open_to_both].mean()) - UNRELATED
    if share <= 0.0:
        return fused
    out = fused.copy()
    said = _propagated(claimed, here, there, reach, patch)
    out[box][open_to_both] += np.float32(share) * (said - out[box])[open_to_both]
    return out


def _voxels(reach: float, size: np.ndarray) -> np.ndarray:
    """A reach in cube roots of the voxel volume, in whole voxels along each axis; less than three quarters are none."""
    return np.floor(reach * np.cbrt(np.prod(size)) / size + 0.25).astype(int)


def _propagated(
    claimed: np.ndarray, image: np.ndarray, warped: np.ndarray, reach: np.ndarray, patch: np.ndarray
) -> np.ndarray:
    """Mean of the label over the window around each voxel, weighted by how alike the patches are; float32."""
    from skimage.exposure import match_histograms

    low, high = np.percentile(image, PERCENTILES)
    contrast = max(float(high - low), float(np.finfo(np.float32).tiny))
    matched = match_histograms(warped, image)
    soft = ndimage.gaussian_filter(claimed.astype(np.float32), SOFTENED)
    border = [(n, n) for n in (reach + patch).tolist()]
    padded = [
        np.pad(values.astype(np.float32), border, mode="edge")
        for values in ((image - low) / contrast, (matched - low) / contrast, soft)
    ]
    out = np.empty(image.shape, dtype=np.float32)
    settings = tuple(reach.tolist()), tuple(patch.tolist()), np.float32(WIDTH), np.float32(LEAST)
    run_parts(vote, len(out), compute_threads(), *padded, *settings, out)
    return out
