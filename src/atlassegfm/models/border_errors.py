"""By how much priors err, in mm of their borders, and how far that can be believed."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from atlassegfm.models.features import signed_distance
from atlassegfm.volume import bounding_box

#: Largest border error that is believed, relative to the depth of the label.
DEEPEST = 0.75


def depth(mask: np.ndarray, spacing: np.ndarray) -> float:
    """Greatest distance in mm from a voxel of the mask to the mask's border."""
    return float(-signed_distance(mask[bounding_box(mask, margin=1)], spacing).min())


def border_error(prior: np.ndarray, truth: np.ndarray, spacing: np.ndarray) -> float:
    """90th percentile of the distance in mm from the true border to the prior's border; 0 if either is empty."""
    if not prior.any() or not truth.any():
        return 0.0
    box = bounding_box(prior | truth, margin=2)
    truth, prior = truth[box], prior[box]
    border = truth & ~ndimage.binary_erosion(truth, border_value=1)
    return float(np.percentile(np.abs(signed_distance(prior, spacing))[border], 90))


def error_limit(depth_mm: float, unit: float) -> float:
    """The most in mm that a label's border may err to teach anything; a voxel, of edge `unit`, always does."""
    return max(DEEPEST * depth_mm, unit)


def settled_errors(errors: dict[int, float], limits: dict[int, float], unit: float) -> dict[int, float]:
    """Border errors made usable: no more than the label's own thickness allows, no less than half the usual one.

    A prior that is off by more than a label's depth tells nothing about where it is; one failed label must not make
    the model expect the same of its neighbours.
    """
    capped = {v: min(e, limits[v]) for v, e in errors.items()}
    usual = float(np.median([e for e in capped.values() if e > 0] or [2.0 * unit]))
    return {v: max(e, 0.5 * usual, 0.5 * unit) for v, e in capped.items()}


def power(error: float, unit: float, base: float = 2.0) -> int:
    """The exponent of the power of `base` times `unit` that is next to an error, both in mm."""
    return round(float(np.log(error / unit) / np.log(base)))


def rounded(error: float, unit: float, base: float = 2.0) -> float:
    """An error in mm rounded to a power of `base` times `unit`: like ones share what is learnt."""
    return unit * base ** power(error, unit, base)
