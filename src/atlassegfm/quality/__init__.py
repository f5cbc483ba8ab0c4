"""How far to trust the result for one label, without ground truth.

`measure` turns arrays into `Signals`; `judge` turns signals into a predicted Dice, a word and reasons. The rule behind
it is a heuristic, see `atlassegfm.quality.verdict`.
"""

from atlassegfm.quality.signals import (
    Signals,
    border_entropy,
    cut_fraction,
    expected_volume,
    likenesses,
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
    "likenesses",
    "measure",
]
