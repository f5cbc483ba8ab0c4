"""From signals to a verdict: a predicted Dice, a word and reasons.

**The rule is a heuristic.** Predicted Dice is ``BEST * product(factors) ** OVERLAP`` with one factor per signal, each
read off a monotone table (`RULES`): better signals never lower the prediction. The tables were set by eye on 26 labels
of nine development pairs, not calibrated; take the number as a rank ("which results to look at first"), not as a
measurement. A result can be wrong in ways that no signal sees: registration and model can agree on the same wrong
organ. And nothing here applies to focal lesions, whose place in the atlas says nothing about their place in the query.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from atlassegfm.quality.signals import Signals

GOOD, CHECK, DO_NOT_USE = "good", "check", "do not use"
#: Predicted Dice from which a result is called good, and from which it is worth checking.
GOOD_FROM, CHECK_FROM = 0.75, 0.5
#: Predicted Dice when every signal is at its best.
BEST = 0.88
#: Signals overlap (a lost organ lowers several at once), so that their plain product would count one fault twice.
OVERLAP = 0.7
#: A result of which more than this share lies outside the query's field of view is never called good.
CUT_NOTICED = 0.1


@dataclass(frozen=True)
class Quality:
    """The verdict on one label.

    Parameters
    ----------
    word : {"good", "check", "do not use"}
        What to do with the result.
    score : float
        Predicted Dice in [0, 1]; a rough one, see the module's docstring.
    reasons : tuple of str
        What speaks against the result, the weightiest first; empty when nothing does.
    signals : Signals
        What the verdict rests on.
    """

    word: str
    score: float
    reasons: tuple[str, ...]
    signals: Signals

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: word, score, reasons (list), signals (dict); numbers rounded to three decimals."""
        signals = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self.signals).items()}
        return {"word": self.word, "score": round(self.score, 3), "reasons": list(self.reasons), "signals": signals}


@dataclass(frozen=True)
class _Rule:
    """How one signal lowers the prediction.

    Parameters
    ----------
    table : tuple of (signal, factor)
        Ascending in the signal, straight lines in between, constant beyond.
    reason : str
        Told when the factor is below `NOTICED`; {percent} and {times} stand for the signal.
    """

    table: tuple[tuple[float, float], ...]
    reason: str

    def factor(self, value: float) -> float:
        x, y = zip(*self.table, strict=True)
        return float(np.interp(value, x, y))


#: Factors below this are given as a reason.
NOTICED = 0.9
RULES = {
    "agreement_dice": _Rule(
        ((0.0, 0.4), (0.5, 0.65), (0.7, 0.85), (0.85, 0.97), (0.92, 1.0)),
        "registration and model disagree (Dice {percent} %)",
    ),
    "roundtrip_dice": _Rule(
        ((0.0, 0.25), (0.4, 0.6), (0.7, 0.88), (0.85, 0.97), (0.95, 1.0)),
        "registration there and back does not return to the start (Dice {percent} %)",
    ),
    "similarity": _Rule(((0.0, 0.5), (0.2, 0.75), (0.5, 1.0)), "warped atlas and query look unlike here"),
    "border_entropy": _Rule(((0.5, 1.0), (0.8, 0.9), (1.0, 0.75)), "the border is uncertain"),
    "cut_fraction": _Rule(((0.1, 1.0), (0.5, 0.85), (0.95, 0.4)), "the query shows {seen}"),
}
#: The volume has a best value in the middle: its rule reads max(ratio, 1 / ratio).
VOLUME_RULE = _Rule(((1.25, 1.0), (1.6, 0.92), (2.5, 0.65), (5.0, 0.3)), "volume is {times} the expected one")


def judge(signals: Signals, name: str = "", doubts: Sequence[str] = ()) -> Quality:
    """Predict the Dice of a result and say in words what to do with it.

    Heuristic: see the module's docstring. Signals that are None have no say; with none at all the prediction is capped
    below good, because nothing speaks for the result.

    Parameters
    ----------
    signals : Signals
        From `measure`.
    name : str
        Name of the label; put before each reason when given.
    doubts : sequence of str
        Why the registration as a whole looks wrong; with any, no label is fit for use.
    """
    prefix = f"{name}: " if name else ""
    if signals.empty:
        gone = signals.cut_fraction is not None and signals.cut_fraction > 0.9
        reason = "the query does not show it" if gone else "nothing was found"
        return Quality(DO_NOT_USE, 0.0, (prefix + reason,), signals)
    factors = _factors(signals)
    score = BEST * float(np.prod([factor for factor, _ in factors])) ** OVERLAP
    reasons = [text for factor, text in sorted(factors, key=lambda pair: pair[0]) if factor < NOTICED]
    cut = signals.cut_fraction or 0.0
    word = GOOD if score >= GOOD_FROM else CHECK if score >= CHECK_FROM else DO_NOT_USE
    if signals.agreement_dice is None and signals.roundtrip_dice is None:
        score = min(score, GOOD_FROM - 0.01)
        reasons.append("neither a model nor a round trip was there to check the registration")
    if cut > CUT_NOTICED:
        reasons = [f"the query shows {_share(1.0 - cut)}", *(r for r in reasons if "the query shows" not in r)]
    if word == GOOD and (cut > CUT_NOTICED or score < GOOD_FROM):
        word = CHECK
    if doubts:
        word, score = DO_NOT_USE, min(score, CHECK_FROM - 0.01)
        reasons = [*(f"the registration looks wrong: {doubt}" for doubt in doubts), *reasons]
    if word != GOOD and not reasons:
        reasons = ["several signals are a little low"]
    return Quality(word, float(np.clip(score, 0.0, 1.0)), tuple(prefix + r for r in reasons), signals)


def _factors(signals: Signals) -> list[tuple[float, str]]:
    """(factor, reason) of every signal that was measured."""
    out = []
    for field in fields(signals):
        value = getattr(signals, field.name)
        if value is None or field.name == "empty":
            continue
        if field.name == "volume_ratio":
            off = max(value, 1.0 / max(value, 1e-9))
            out.append((VOLUME_RULE.factor(off), VOLUME_RULE.reason.format(times=_times(value))))
        else:
            rule = RULES[field.name]
            text = rule.reason.format(percent=round(100 * value), seen=_share(1.0 - value))
            out.append((rule.factor(value), text))
    return out


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio >= 0.1 else "less than a tenth of"


def _share(seen: float) -> str:
    """How much of the label is seen, in words."""
    words = ((0.05, "almost none of it"), (0.2, "a small part of it"), (0.4, "about a third of it"))
    words += ((0.6, "about half of it"), (0.8, "about two thirds of it"), (1.1, "most of it"))
    return next(text for limit, text in words if seen < limit)
