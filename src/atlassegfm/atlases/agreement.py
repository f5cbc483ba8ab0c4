"""How far several atlases agree: with each other, and each with all others."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from atlassegfm.atlases.warped import HALF, WarpedAtlas, label_box, labels_of
from atlassegfm.overlap import dice


def pairwise_agreement(atlases: Sequence[WarpedAtlas]) -> dict[int, float]:
    """Per label the mean Dice over all pairs of atlases that have it, 0 to 1; labels of one atlas alone are left out.

    Parameters
    ----------
    atlases : sequence of WarpedAtlas
        On one part of the query's grid.
    """
    found = {}
    for value in labels_of(atlases):
        box = label_box(atlases, value)
        knowing = [atlas for atlas in atlases if value in atlas.values]
        if len(knowing) < 2:
            continue
        masks = [atlas.mask(value, box) for atlas in knowing] if box else [np.zeros(0, bool)] * 2
        found[value] = float(np.mean([dice(a, b, both_empty=0.0) for a, b in combinations(masks, 2)]))
    return found


def consensus_scores(atlases: Sequence[WarpedAtlas]) -> list[float]:
    """Per atlas the mean over its labels of the Dice with what the other atlases say on average, 0 to 1.

    A label that no other atlas has says nothing. Of a single atlas the score is 1.

    Parameters
    ----------
    atlases : sequence of WarpedAtlas
        On one part of the query's grid.
    """
    scores: list[list[float]] = [[] for _ in atlases]
    for value in labels_of(atlases):
        box = label_box(atlases, value)
        knowing = [n for n, atlas in enumerate(atlases) if value in atlas.values]
        if len(knowing) < 2 or box is None:
            continue
        memberships = {n: atlases[n].membership(value, box) for n in knowing}
        total = np.sum(list(memberships.values()), axis=0)
        for n, own in memberships.items():
            others = (total - own) / (len(knowing) - 1)
            scores[n].append(dice(own >= HALF, others >= HALF, both_empty=0.0))
    return [float(np.mean(found)) if found else 1.0 for found in scores]
