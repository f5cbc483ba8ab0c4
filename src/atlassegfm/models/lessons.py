"""What a model is taught on the atlas: priors that err as registration errs, never more than a label can bear."""

from __future__ import annotations

import numpy as np

from atlassegfm.models.base import Support
from atlassegfm.models.border_errors import depth, error_limit, power, rounded
from atlassegfm.models.corruption import displaced_labels
from atlassegfm.overlap import dice
from atlassegfm.volume import Volume

#: Displacement amplitudes of the lessons' priors, relative to the size that they stand for.
AMPLITUDES = (0.7, 1.0, 1.4)
#: Smallest border error that is taught, relative to the depth of the label.
SHALLOWEST = 0.1
#: A round-trip prior below this Dice is no lesson: there registration failed.
LEAST_DICE = 0.5
#: Border error of the prior that stands in for it, relative to the depth of the label.
STAND_IN = 0.4
#: Network and fusion count errors in units of so much of the labels' usual depth, by powers of so many: what they learn
#: hardly depends on the size, and nearly all queries of all atlases share it (docs/decisions/0009-customising.md).
USUAL, COARSELY = 0.25, 16.0


class Lessons:
    """Imperfect priors to learn from: displacements of the truth by as much as its labels may err.

    Nothing of them comes from a query: what is learnt serves them all.

    Parameters
    ----------
    truth : Volume
        Label map of the atlas.
    seed : int
        Seed of the displacements.
    """

    def __init__(self, truth: Volume, seed: int) -> None:
        self._truth, self._unit, self._seed = truth, truth.grid.voxel_edge_mm, seed
        self._displaced: dict[float, list[Volume]] = {}

    def sizes(self, depth_mm: float) -> list[float]:
        """Border errors in mm, ascending, that a label of that depth is taught: powers of two voxels."""
        least = max(SHALLOWEST * depth_mm, 0.5 * self._unit)
        first, last = (power(size, self._unit) for size in (least, error_limit(depth_mm, self._unit)))
        return [self._unit * 2.0**step for step in range(first, last + 1)]

    def priors(self, size: float) -> list[Volume]:
        """Label maps whose borders are off by about `size` mm, one of `sizes`."""
        if size not in self._displaced:
            rng = np.random.default_rng([self._seed, power(size, self._unit) + 100])
            self._displaced[size] = [displaced_labels(self._truth, a * size, rng) for a in AMPLITUDES]
        return self._displaced[size]


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


def usual_error(support: Support) -> float:
    """Border error in mm that the priors' round trip shows: median over labels, rounded coarsely (see `COARSELY`)."""
    unit = USUAL * float(np.median(list(support.depths.values())))
    return rounded(float(np.median(list(support.errors.values()))), unit, COARSELY)
