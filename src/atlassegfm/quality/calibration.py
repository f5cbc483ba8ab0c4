"""From signals to a predicted Dice with an interval: a monotone sum, its weights learnt from synthetic scenes.

The log-odds of the Dice are ``intercept + sum(weight * view(signal))``, each `view` rising with what speaks for a
result and no weight negative: better signals never lower the prediction. The weights were fitted by
``benchmarks/quality_calibration.py`` to pairs of synthetic scenes, whose truth is known; no scan of anybody is behind
them. What is particular to the label at hand comes in through
what is measured on its atlas: what its border looks like when it lies wrong (`border_dice`), and how thick it is
(`apart`, `distortion`). See docs/decisions/0014-quality.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from scipy.special import expit, logit

from atlassegfm.quality.signals import Signals

#: Share of true values that the interval is to hold.
LEVEL = 0.8
#: Dice beyond which log-odds would make a lot of very little.
CLOSEST = 0.02


def _odds(value: float) -> float:
    return float(logit(np.clip(value, CLOSEST, 1.0 - CLOSEST)))


#: Beyond this, local similarity tells of noise and contrast more than of whether the right things came together.
SIMILAR = 0.3
#: How each signal that has a say is looked at: rising with what speaks for the result.
VIEWS: dict[str, Callable[[float], float]] = {
    "roundtrip_dice": _odds,
    "volume_ratio": lambda v: -abs(float(np.log(max(v, 0.02)))),
    "similarity": lambda v: _odds(min(v, SIMILAR)),
    "border_dice": _odds,
    "apart": lambda v: -float(np.log(max(v, 0.02))),
    "distortion": lambda v: -min(float(v), 2.0),
}


@dataclass(frozen=True)
class Calibration:
    """What was learnt.

    Parameters
    ----------
    intercept : float
        Log-odds of the Dice of a result all of whose views are at their `usual` values.
    weights, usual : mapping of str to float
        By signal: weight, none negative, and the value of its view among fair results; a signal that was not measured
        counts as usual.
    spread : sequence of (log-odds, low, high)
        Ascending in the predicted log-odds: how far below and above it the true ones lie, `LEVEL` of them in between.
    """

    intercept: float
    weights: Mapping[str, float]
    usual: Mapping[str, float]
    spread: Sequence[tuple[float, float, float]]

    @classmethod
    @cache
    def shipped(cls) -> Calibration:
        """The one that comes with the program."""
        return cls(**json.loads(Path(__file__).with_name("calibration.json").read_text(encoding="utf-8")))

    def contributions(self, signals: Signals) -> dict[str, float]:
        """What each signal that was measured adds to the log-odds."""
        found = {name: getattr(signals, name) for name in self.weights}
        return {n: self.weights[n] * (VIEWS[n](v) - self.usual[n]) for n, v in found.items() if v is not None}

    def predict_odds(self, signals: Signals) -> float:
        """Log-odds of the predicted Dice."""
        return self.intercept + sum(self.contributions(signals).values())

    def predict(self, signals: Signals) -> tuple[float, float, float]:
        """Predicted Dice, and the low and high end of the interval that holds the true one in `LEVEL` of the cases."""
        odds = self.predict_odds(signals)
        at, low, high = np.array(self.spread, dtype=float).T
        ends = odds + np.interp(odds, at, low), odds + np.interp(odds, at, high)
        return tuple(float(v) for v in expit([odds, *ends]))
