"""What a model is taught on the atlas: priors that err as registration errs, never more than a label can bear."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from atlassegfm.models.base import Support
from atlassegfm.models.corruption import displaced_labels
from atlassegfm.models.features import signed_distance
from atlassegfm.overlap import dice
from atlassegfm.volume import Volume, bounding_box

#: Displacement amplitudes of the lessons' priors, relative to the label's own border error.
AMPLITUDES = (0.7, 1.0, 1.0, 1.4, 1.4)
#: Largest border error that is believed, relative to the depth of the label.
DEEPEST = 0.75
#: A round-trip prior below this Dice is no lesson: there registration failed.
LEAST_DICE = 0.5
#: Border error of the prior that stands in for it, relative to the depth of the label.
STAND_IN = 0.4
#: Network and fusion count errors by powers of so many voxels: what they learn hardly depends on the size, and nearly
#: all queries of a cohort share it (docs/decisions/0009-customising.md).
COARSELY = 4.0


def depth(mask: np.ndarray, spacing: np.ndarray) -> float:
    """Greatest distance in mm from a voxel of the mask to the mask's border."""
    return float(-signed_distance(mask[bounding_box(mask, margin=1)], spacing).min())


def settled_errors(errors: dict[int, float], limits: dict[int, float], unit: float) -> dict[int, float]:
    """Border errors made usable: no more than the label's own thickness allows, no less than half the usual one.

    A prior that is off by more than a label's depth tells nothing about where it is; one failed label must not make
    the model expect the same of its neighbours.
    """
    capped = {v: min(e, limits[v]) for v, e in errors.items()}
    usual = float(np.median([e for e in capped.values() if e > 0] or [2.0 * unit]))
    return {v: max(e, 0.5 * usual, 0.5 * unit) for v, e in capped.items()}


def power(error: float, unit: float, base: float = 2.0) -> int:
    """The exponent of the power of `base` voxels (of edge `unit`) that is next to an error in mm."""
    return round(float(np.log(error / unit) / np.log(base)))


def rounded(error: float, unit: float, base: float = 2.0) -> float:
    """An error in mm rounded to a power of `base` voxels (of edge `unit`): like ones share what is learnt."""
    return unit * base ** power(error, unit, base)


class Lessons:
    """Imperfect priors to learn from: displacements of the truth by about as much as a label errs.

    Nothing of them comes from a query: what is learnt for one serves the next.
    """

    def __init__(self, truth: Volume, unit: float, seed: int) -> None:
        self._truth, self._unit, self._seed = truth, unit, seed
        self._displaced: dict[int, list[Volume]] = {}

    def priors(self, error: float) -> list[Volume]:
        """Label maps whose borders are off by about `error` mm."""
        step = power(error, self._unit)
        if step not in self._displaced:
            rng = np.random.default_rng([self._seed, step + 100])
            size = rounded(error, self._unit)
            self._displaced[step] = [displaced_labels(self._truth, a * size, rng) for a in AMPLITUDES]
        return self._displaced[step]


def border_error(prior: np.ndarray, truth: np.ndarray, spacing: np.ndarray) -> float:
    """90th percentile of the distance in mm from the true border to the prior's border; 0 if either is empty."""
    if not prior.any() or not truth.any():
        return 0.0
    box = bounding_box(prior | truth, margin=2)
    truth, prior = truth[box], prior[box]
    border = truth & ~ndimage.binary_erosion(truth, border_value=1)
    return float(np.percentile(np.abs(signed_distance(prior, spacing))[border], 90))


def usable_priors(truth: Volume, returned: Volume, seed: int) -> Volume:
    """The round-trip label map, with labels that it lost replaced by a displaced copy of the truth.

    Model and fusion learn from the support how far to trust a prior. A label that did not survive the round trip would
    teach them that priors are worthless and make them follow the model wherever it goes.

    Parameters
    ----------
    truth, returned : Volume
        Atlas label map, and its copy after the trip to the query and back, on the same grid.
    seed : int
        Seed of the displacements.
    """
    out = returned.data.copy()
    for value in (int(v) for v in np.unique(truth.data) if v != 0):
        wanted, got = truth.data == value, returned.data == value
        if dice(wanted, got) >= LEAST_DICE:
            continue
        out[out == value] = 0
        alone = truth.with_data(wanted.astype(np.uint8))
        size = STAND_IN * depth(wanted, truth.spacing)
        moved = displaced_labels(alone, size, np.random.default_rng([seed, value])).data > 0
        out[moved] = value
    return returned.with_data(out)


def error_limits(support: Support) -> dict[int, float]:
    """The most in mm that the border of each label's prior may err to teach anything (see `settled_errors`)."""
    spacing, unit = support.image.spacing, support.image.grid.voxel_edge_mm
    return {v: max(DEEPEST * depth(support.truth.data == v, spacing), unit) for v in support.values}


def usual_error(support: Support, limits: dict[int, float]) -> float:
    """Border error in mm that the priors' round trip shows: median over labels, `rounded` by `COARSELY`.

    The limits are those of `error_limits`.
    """
    spacing, unit = support.image.spacing, support.image.grid.voxel_edge_mm
    masks = {v: (support.priors.data == v, support.truth.data == v) for v in support.values}
    errors = {v: border_error(*pair, spacing) for v, pair in masks.items()}
    return rounded(float(np.median(list(settled_errors(errors, limits, unit).values()))), unit, COARSELY)
