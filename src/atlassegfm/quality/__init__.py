"""How far to trust the result for one label, without ground truth.

`measure` turns arrays into `Signals`; `judge` turns signals into a predicted Dice with an interval, a word and reasons.
What is behind the number stands in `atlassegfm.quality.calibration`.
"""

from atlassegfm.quality.signals import (
    Signals,
    border_entropy,
    cut_fraction,
    expected_volume,
    local_similarity,
    measure,
)
from atlassegfm.quality.verdict import CHECK, DO_NOT_USE, GOOD, Quality, judge

__all__ = [
    "CHECK",
    "DO_NOT_USE",
    "GOOD",
    "Quality",
    "Signals",
    "border_entropy",
    "cut_fraction",
    "expected_volume",
    "judge",
    "local_similarity",
    "measure",
]
