"""An atlas whose labels come to lie where no other's do was probably misregistered, and would only spoil the vote."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlassegfm.atlases.agreement import consensus_scores
from atlassegfm.atlases.warped import WarpedAtlas

#: Fewest atlases among which it can be said which one is off.
FEWEST = 3
#: An atlas that agrees with the others by less than this part of what is usual is left out.
LEAST_PART = 0.6


def outliers(atlases: Sequence[WarpedAtlas]) -> tuple[list[int], list[float]]:
    """Places in the sequence of those to be left out, worst first; and each atlas's agreement with those that stay.

    One at a time, because an outlier spoils the agreement of the others: as long as the worst atlas agrees with the
    mean of the others by less than `LEAST_PART` of the median and `FEWEST` are there, it goes (an iteration as in
    SIMPLE, Langerak et al., IEEE TMI 29 (2010) 2000-2008, section II-B). Scores are Dice, 0 to 1.

    Parameters
    ----------
    atlases : sequence of WarpedAtlas
        On one part of the query's grid.
    """
    kept, left = list(range(len(atlases))), []
    scores = dict(enumerate(consensus_scores(atlases)))
    while len(kept) >= FEWEST:
        worst = min(kept, key=lambda n: scores[n])
        if scores[worst] >= LEAST_PART * float(np.median([scores[n] for n in kept])):
            break
        kept.remove(worst)
        left.append(worst)
        scores |= dict(zip(kept, consensus_scores([atlases[n] for n in kept]), strict=True))
    return left, [scores[n] for n in range(len(atlases))]
