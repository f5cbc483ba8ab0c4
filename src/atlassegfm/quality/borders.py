"""Does a label's border lie on the same kind of border in query and atlas? Intensities across it, with no map.

Where a result lies on the wrong structure, or runs through the middle of one, what is seen on the way from its inside
to its outside differs from what the atlas shows there. Registration has no say in this: it is an independent witness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import edt
import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import rankdata

from atlassegfm.models.corruption import displaced_labels
from atlassegfm.overlap import dice
from atlassegfm.resampling import resample_image, resample_labels
from atlassegfm.volume import Volume, bounding_box

#: Steps of the profile on either side of the border, and the reach in mm of what is told apart by `separation`.
STEPS = 4
REACH_MM = 8.0
#: Voxels on either side that are ranked, at most.
MOST_RANKED = 100_000


@dataclass(frozen=True, eq=False)
class Border:
    """What an image shows across the border of a mask.

    Parameters
    ----------
    profile : numpy.ndarray, shape (2 * STEPS,)
        Mean intensity from deep inside to far outside; NaN where there is no voxel.
    separation : float
        Probability that a voxel inside is brighter than one outside, both within `REACH_MM` of the border: one half
        where nothing tells them apart.
    contrast : float
        Range of the profile in standard deviations of the intensities there.
    """

    profile: np.ndarray
    separation: float
    contrast: float

    def profile_match(self, other: Border) -> float | None:
        """Correlation of both profiles, -1 to 1; None where there are too few steps in common."""
        both = np.isfinite(self.profile) & np.isfinite(other.profile)
        if np.count_nonzero(both) < 3:
            return None
        a, b = self.profile[both], other.profile[both]
        if np.ptp(a) <= 0 or np.ptp(b) <= 0:
            return 0.0
        return float(np.corrcoef(a, b)[0, 1])

    def contrast_loss(self, other: Border) -> float:
        """Difference of the separations, 0 (alike) to 1."""
        return abs(self.separation - other.separation)


def border_of(image: np.ndarray, mask: np.ndarray, spacing: Sequence[float], step_mm: float) -> Border | None:
    """Intensities across the border of a mask.

    Parameters
    ----------
    image : numpy.ndarray, 3D
        Intensities.
    mask : numpy.ndarray of bool, same shape
        The label.
    spacing : three floats
        Voxel spacing in mm.
    step_mm : float
        Width of a step of the profile; the same for images that are to be compared, and no less than a voxel of either.

    Returns
    -------
    Border or None
        None for a mask that is empty or fills the image.
    """
    size = tuple(float(s) for s in spacing)
    box = bounding_box(mask, [int(np.ceil(max(STEPS * step_mm, REACH_MM) / s)) + 1 for s in size])
    if box is None or mask[box].all():
        return None
    inside = np.ascontiguousarray(mask[box])
    values = np.asarray(image[box], dtype=np.float64)
    # Signed distance in mm to the faces between inside and outside, negative inside.
    distance = np.where(inside, -edt.edt(inside, anisotropy=size), edt.edt(~inside, anisotropy=size))
    number = np.floor(distance / step_mm).astype(int) + STEPS
    near = (number >= 0) & (number < 2 * STEPS)
    counts = np.bincount(number[near], minlength=2 * STEPS)
    sums = np.bincount(number[near], values[near], minlength=2 * STEPS)
    profile = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    close = np.abs(distance) <= max(REACH_MM, max(size))
    contrast = float(np.ptp(profile[counts > 0]) / max(float(values[near].std()), 1e-12))
    return Border(profile, _separation(values[close & inside], values[close & ~inside]), contrast)


def _separation(within: np.ndarray, without: np.ndarray) -> float:
    """Area under the ROC curve (Mann-Whitney U over the product of the counts), ties counting half."""
    within, without = (v[:: -(-len(v) // MOST_RANKED) or 1] for v in (within, without))
    if not len(within) or not len(without):
        return 0.5
    ranks = rankdata(np.concatenate([within, without]))[: len(within)]
    return float((ranks.sum() - len(within) * (len(within) + 1) / 2.0) / (len(within) * len(without)))


#: Sizes of the displacements that a label is tried with on its own atlas, relative to its radius; draws of each.
SIZES = (0.25, 0.5, 1.0, 1.5, 2.5)
DRAWS = 2
#: Edge in voxels of the copy that the trials are made on, at most.
TRIAL_VOXELS = 48
#: What a profile that runs the other way round counts beside a contrast that is gone.
PROFILE_WEIGHT = 0.25
#: A label of less contrast than this has no border in the atlas that could be looked for.
VISIBLE = 0.3


def mismatch(here: Border, there: Border) -> float:
    """How unlike two borders are, 0 (alike) to 1.5."""
    match = here.profile_match(there)
    return here.contrast_loss(there) + PROFILE_WEIGHT * (1.0 - (1.0 if match is None else match))


@dataclass(frozen=True, eq=False)
class BorderCurve:
    """What a border that lies wrong looks like on the atlas, where it is known how wrong it is.

    Parameters
    ----------
    mismatches, dices : numpy.ndarray, shape (n,)
        Ascending mismatch of displaced copies of the label with the label itself, and the Dice of the two, made
        monotone.
    """

    mismatches: np.ndarray
    dices: np.ndarray

    def dice(self, value: float) -> float:
        """Dice of the displaced copies whose borders are as unlike as that."""
        return float(np.interp(value, self.mismatches, self.dices))


def border_curve(
    image: Volume, mask: np.ndarray, radius_mm: float, step_mm: float, seed: int = 0
) -> BorderCurve | None:
    """Displace a label of the atlas by more and more and see what becomes of its border.

    Parameters
    ----------
    image : Volume
        The atlas.
    mask : numpy.ndarray of bool, shape of the image
        The label; not empty.
    radius_mm : float
        See `shapes.radius`.
    step_mm : float
        As for `border_of`.
    seed : int
        Of the displacements.

    Returns
    -------
    BorderCurve or None
        None for a label that cannot be seen in the atlas: its border is where any other could be.
    """
    margin = np.ceil((2.5 * radius_mm + STEPS * step_mm) / image.spacing).astype(int)
    box = bounding_box(mask, margin)
    grid = image.grid.cropped(box)
    coarse = grid.with_spacing(np.maximum(grid.spacing, float(grid.extent_mm.max()) / TRIAL_VOXELS))
    small = resample_image(Volume(image.data[box], grid), coarse, antialias=True)
    label = resample_labels(Volume(mask[box].astype(np.uint8), grid), coarse)
    truth = label.data > 0
    own = border_of(small.data, truth, small.spacing, step_mm)
    if own is None or own.contrast < VISIBLE:
        return None
    found = [(0.0, 1.0)]
    for number, size in enumerate(SIZES):
        for draw in range(DRAWS):
            rng = np.random.default_rng([seed, number, draw])
            moved = displaced_labels(label, size * radius_mm, rng).data > 0
            seen = border_of(small.data, moved, small.spacing, step_mm)
            if seen is not None:
                found.append((mismatch(seen, own), dice(moved, truth)))
    x, y = np.array(sorted(found)).T
    return BorderCurve(x, isotonic_regression(y, increasing=False).x)
