"""Overlap of two masks."""

from __future__ import annotations

import numpy as np


def dice(first: np.ndarray, second: np.ndarray, *, both_empty: float = 1.0) -> float:
    """Dice similarity ``2 |A n B| / (|A| + |B|)`` (Dice 1945).

    Parameters
    ----------
    first, second : numpy.ndarray of bool
        Of one shape.
    both_empty : float
        What two empty masks give: 1 where they agree rightly, 0 where agreeing on nothing is no ground for trust.
    """
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2.0 * int(np.count_nonzero(first & second)) / total if total else both_empty
