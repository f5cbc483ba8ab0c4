"""A fused map drawn towards the edges of the image: the guided filter, then a diffusion that edges stop.

He, Sun, Tang, "Guided Image Filtering", IEEE TPAMI 35(6), 2013. Within a small window the map is taken to be a line in
the intensities, ``q = a I + b`` (Eq. 4), with a and b by ridge regression (Eq. 5 and 6); each voxel gets the mean over
the windows that hold it (Eq. 8). Where the intensities change, the map's border moves there; where they do not, the map
is only smoothed. What lies farther than a window from the next edge is left to `diffusion`. These two are the part of
the fusion that knows the query's own edges and nothing of the atlas's.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from atlassegfm.competition import favouring_dice, unfavoured
from atlassegfm.fusion.diffusion import diffused
from atlassegfm.fusion.soft import signed_distance

#: Reach of the window: this part of the label's depth, and at least `NARROWEST` cube roots of the voxel volume.
PART_OF_DEPTH, NARROWEST = 0.2, 1.0
#: Ridge of the regression, in squares of the scaled intensities (Eq. 5).
RIDGE = 0.005
#: Intensities are scaled by these percentiles of what lies inside the label and this close to it, in cube roots of the
#: voxel volume, and cut beyond.
PERCENTILES, SURROUNDINGS = (5.0, 95.0), 4.0
CUT = (-0.25, 1.25)


def follow_edges(probability: np.ndarray, image: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The map filtered with the image as its guide, and evened out within the image's regions.

    Parameters
    ----------
    probability : numpy.ndarray, 3D float32
        In [0, 1]; at least one half in the label, as `competition.favouring_dice` makes it. The filter sees the
        probability before that: means over windows take more from a round label than they give to it, and where to cut
        is chosen again afterwards.
    image : numpy.ndarray, same shape
        Intensities; gain and offset do not matter.
    spacing : three floats
        Voxel spacing in mm.

    Returns
    -------
    numpy.ndarray
        float32 in [0, 1], same shape; the map itself where it claims no voxel or all, or the image is flat.
    """
    claimed = probability >= 0.5
    if not claimed.any() or claimed.all():
        return probability
    size = np.array(spacing, dtype=np.float64)
    unit = float(np.prod(size) ** (1.0 / 3.0))
    inside = signed_distance(claimed, spacing)
    guide = _scaled(image, inside >= -SURROUNDINGS * unit)
    if guide is None:
        return probability
    reach = max(NARROWEST * unit, PART_OF_DEPTH * float(inside.max()))
    window = (2 * np.round(reach / size) + 1).astype(int)
    drawn = _guided(unfavoured(probability), guide, window)
    return favouring_dice(diffused(drawn, guide, inside, spacing))


def _scaled(image: np.ndarray, region: np.ndarray) -> np.ndarray | None:
    """Intensities with the region's low and high ones at 0 and 1, float32; None for a flat image."""
    low, high = np.percentile(image[region], PERCENTILES)
    if not high > low:
        return None
    return np.clip((image - np.float32(low)) / np.float32(high - low), *CUT)


def _guided(probability: np.ndarray, guide: np.ndarray, window: np.ndarray) -> np.ndarray:
    """The guided filter with box windows of so many voxels, cut to [0, 1]."""

    def mean(values: np.ndarray) -> np.ndarray:
        return ndimage.uniform_filter(values, window, mode="nearest")

    level, share = mean(guide), mean(probability)
    slope = (mean(guide * probability) - level * share) / (np.maximum(mean(guide * guide) - level**2, 0.0) + RIDGE)
    offset = share - slope * level
    return np.clip(mean(slope) * guide + mean(offset), 0.0, 1.0)
