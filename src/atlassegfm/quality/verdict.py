"""From signals to a verdict: a predicted Dice with an interval, a word and reasons.

The number is that of `calibration.Calibration`. A result can be wrong in ways that no signal sees: registration and
model can agree on the same wrong organ, and the atlas can be contoured wrongly. And nothing here applies to focal
lesions, whose place in the atlas says nothing about their place in the query; see `lesions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy.special import expit

from atlassegfm.quality.calibration import Calibration
from atlassegfm.quality.signals import Signals

GOOD, CHECK, DO_NOT_USE = "good", "check", "do not use"
#: Predicted Dice from which a result is called good, and from which it is worth checking.
GOOD_FROM, CHECK_FROM = 0.8, 0.5
#: The same where no round trip was there to check the registration: one witness less.
GOOD_ALONE = 0.85
#: The low end of the interval of a good result.
GOOD_LOW = 0.5
#: A result of which more than this share lies outside the query's field of view is never called good, or of any use.
CUT_NOTICED, CUT_AWAY = 0.1, 0.9
#: Nor is one good on which model and registration agree less than this; above it their agreement says nothing.
DISAGREED = 0.6
#: Local similarity below which query and warped atlas have no more in common there than by chance.
UNLIKE = 0.15
#: Thickness, over what is expected, from which on it bounds the Dice no more, and at which no more than the second
#: number is believed: a label in tatters was squeezed into something else (docs/decisions/0014-quality.md).
WHOLE, IN_TATTERS = 0.85, (0.4, 0.2)
#: Times as far as in the atlas that a label's grey levels spread, from which on it is taken for more than one thing and
#: not called good.
MIXED = 2.0
#: Times that the volume of an organ may differ from the atlas's, after the difference in body size.
PEOPLE_DIFFER = 2.0
#: A signal that lowers the predicted Dice by more than this is given as a reason, three at the most.
NOTICED = 0.03
MOST_REASONS = 3


@dataclass(frozen=True)
class Quality:
    """The verdict on one label.

    Parameters
    ----------
    word : {"good", "check", "do not use"}
        What to do with the result.
    score : float
        Predicted Dice in [0, 1].
    interval : (float, float)
        Holds the true Dice in about `calibration.LEVEL` of the cases.
    reasons : tuple of str
        What speaks against the result, the weightiest first; empty when nothing does.
    signals : Signals
        What the verdict rests on.
    """

    word: str
    score: float
    interval: tuple[float, float]
    reasons: tuple[str, ...]
    signals: Signals

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: word, score, interval, reasons (list), signals (dict); numbers rounded to three decimals."""
        signals = {k: round(v, 3) if isinstance(v, float) else v for k, v in asdict(self.signals).items()}
        return {
            "word": self.word,
            "score": round(self.score, 3),
            "interval": [round(end, 3) for end in self.interval],
            "reasons": list(self.reasons),
            "signals": signals,
        }


#: What is told of a signal that speaks against the result; {percent} and {times} stand for its value.
REASONS = {
    "roundtrip_dice": "registration there and back does not return to the start (Dice {percent} %)",
    "volume_ratio": "volume is {times} the expected one",
    "similarity": "warped atlas and query look unlike here",
    "border_dice": "its border does not look like the one in the atlas",
    "apart": "registration there and back lie far apart here",
    "distortion": "registration bends it more than organs differ",
}


def judge(signals: Signals, name: str = "", doubts: Sequence[str] = (), suspicions: Sequence[str] = ()) -> Quality:
    """Predict the Dice of a result and say in words what to do with it.

    Parameters
    ----------
    signals : Signals
        From `measure` and `judging`; those that are None have no say.
    name : str
        Name of the label; put before each reason when given.
    doubts : sequence of str
        Why the registration as a whole looks wrong; with any, no label is fit for use.
    suspicions : sequence of str
        What else makes the method unfit for this label or pair; with any, no label is called good.
    """
    prefix = f"{name}: " if name else ""
    if signals.empty:
        gone = signals.cut_fraction is not None and signals.cut_fraction > 0.9
        reason = "the query does not show it" if gone else "nothing was found"
        return Quality(DO_NOT_USE, 0.0, (0.0, 0.0), (prefix + reason,), signals)
    calibration = Calibration.shipped()
    score, low, high = calibration.predict(signals)
    reasons = [*suspicions, *_reasons(signals, calibration, score)]
    for ceiling, why in _ceilings(signals, doubts):
        reasons = [*why, *(reason for reason in reasons if reason not in why)]
        if ceiling < score:
            score, low, high = ceiling, 0.0, max(high, ceiling)
    alone = signals.roundtrip_dice is None
    cut = signals.cut_fraction or 0.0
    fine = score >= (GOOD_ALONE if alone else GOOD_FROM) and low >= GOOD_LOW and cut <= CUT_NOTICED and not suspicions
    word = GOOD if fine else CHECK if score >= CHECK_FROM else DO_NOT_USE
    if word != GOOD and not reasons:
        lacking = "no reverse registration was made to check this one"
        reasons = [lacking if alone else "several signals are a little low"]
    return Quality(word, score, (low, high), tuple(prefix + r for r in reasons), signals)


def _ceilings(signals: Signals, doubts: Sequence[str]) -> list[tuple[float, list[str]]]:
    """What no prediction may exceed, whatever the sum of the signals says, and why; the weightiest reason last."""
    found = []
    most = most_by_volume(signals.volume_ratio)
    if most < 1.0:
        found.append((most, [REASONS["volume_ratio"].format(times=_times(signals.volume_ratio))]))
    if signals.agreement_dice is not None and signals.agreement_dice < DISAGREED:
        # One of the two is wrong, and which one the result follows is not for the other signals to tell.
        told = f"registration and model disagree (Dice {100 * signals.agreement_dice:.0f} %)"
        found.append((GOOD_FROM - 0.01, [told]))
    if signals.grey_ratio is not None and signals.grey_ratio >= MIXED:
        told = f"its grey levels spread {signals.grey_ratio:.1f} times as far as in the atlas: more than one organ?"
        found.append((GOOD_FROM - 0.01, [told]))
    if signals.similarity is not None and signals.similarity < UNLIKE:
        found.append((CHECK_FROM - 0.01, [REASONS["similarity"]]))
    most = most_by_thickness(signals.thickness_ratio)
    if most < GOOD_FROM:
        told = f"it is {100 * signals.thickness_ratio:.0f} % as thick as expected: torn, or squeezed into a gap"
        found.append((most, [told]))
    cut = signals.cut_fraction or 0.0
    if cut > CUT_NOTICED:
        found.append((CHECK_FROM - 0.01 if cut > CUT_AWAY else 1.0, [f"the query shows {_share(1.0 - cut)}"]))
    if doubts:
        found.append((CHECK_FROM - 0.01, [f"the registration looks wrong: {doubt}" for doubt in doubts]))
    return found


def most_by_volume(ratio: float | None) -> float:
    """Largest Dice that a result can have whose volume is `ratio` times the expected one.

    Of two masks with volumes a <= b the Dice is 2 a / (a + b) at the most; the true volume is taken to lie within a
    factor of `PEOPLE_DIFFER` of the expected one.
    """
    if ratio is None:
        return 1.0
    off = max(ratio, 1.0 / max(ratio, 1e-9)) / PEOPLE_DIFFER
    return 2.0 / (1.0 + max(off, 1.0))


def most_by_thickness(ratio: float | None) -> float:
    """Largest Dice that is believed of a result that is `ratio` times as thick as expected: a line up to `WHOLE`."""
    if ratio is None or ratio >= WHOLE:
        return 1.0
    torn, least = IN_TATTERS
    return max(least, least + (1.0 - least) * (ratio - torn) / (WHOLE - torn))


def _reasons(signals: Signals, calibration: Calibration, score: float) -> list[str]:
    """What each signal that lowers the prediction noticeably has to say, the weightiest first."""
    lowering = {n: c for n, c in calibration.contributions(signals).items() if c < 0.0}
    found: list[str] = []
    for name in sorted(lowering, key=lowering.__getitem__):
        value = getattr(signals, name)
        # What the Dice would be without it: where all is lost anyway, no single signal costs much.
        without = calibration.predict_odds(signals) - lowering[name]
        if expit(without) - score < NOTICED:
            continue
        text = REASONS[name].format(percent=round(100 * value), times=_times(value))
        if text not in found:
            found.append(text)
    return found[:MOST_REASONS]


def _times(ratio: float) -> str:
    return f"{ratio:.1f} times" if ratio >= 0.1 else "less than a tenth of"


def _share(seen: float) -> str:
    """How much of the label is seen, in words."""
    words = ((0.05, "almost none of it"), (0.2, "a small part of it"), (0.4, "about a third of it"))
    words += ((0.6, "about half of it"), (0.8, "about two thirds of it"), (1.1, "most of it"))
    return next(text for limit, text in words if seen < limit)
