"""Results that stand out from their own cohort, by volume, shape and place of their labels."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlassegfm.cohort.records import CaseRecord

#: Fewer values than this are no distribution.
FEWEST = 8
#: Robust z beyond which a value stands out of many (Iglewicz and Hoaglin 1993: 3.5).
LIMIT = 3.5
#: Of n values the median absolute deviation is uncertain: with this limit as many normal ones stand out by chance
#: (5 in 10,000) as of many. Fitted to a simulation, which a test repeats.
FEW = (9.0, 60.0)
#: Median absolute deviation of a normal distribution, in standard deviations, inverted.
MAD_TO_SD = 1.4826


@dataclass(frozen=True)
class Feature:
    """A number of each label that is compared.

    Parameters
    ----------
    read : callable
        Takes the facts of a label, gives the number; None when there is none.
    least_sd : float
        Spread that is assumed at the least: a cohort of equals must not flag trifles.
    tell : callable
        Takes value and median, says how they differ.
    """

    read: Callable[[dict[str, Any]], float | None]
    least_sd: float
    tell: Callable[[float, float], str]


def _shape(key: str, index: int | None = None) -> Callable[[dict[str, Any]], float | None]:
    def read(label: dict[str, Any]) -> float | None:
        value = (label.get("shape") or {}).get(key)
        return value if value is None or index is None else value[index]

    return read


def _log(read: Callable[[dict[str, Any]], float | None]) -> Callable[[dict[str, Any]], float | None]:
    """Logarithm, where half and double are equally odd."""

    def read_log(label: dict[str, Any]) -> float | None:
        value = read(label)
        return math.log(value) if value else None

    return read_log


def _times(what: str) -> Callable[[float, float], str]:
    return lambda value, middle: f"{what} is {math.exp(value - middle):.2g} times the cohort's median"


def _place(axis: str) -> Callable[[float, float], str]:
    return lambda value, middle: (
        f"lies {abs(value - middle):.0f} mm {axis.split('/')[value < middle]} of where it lies beside the other labels "
        "in the cohort"
    )


FEATURES = (
    Feature(_log(lambda label: label["volume_ml"]), 0.05, _times("volume")),
    Feature(_log(_shape("elongation")), 0.05, _times("elongation")),
    Feature(_log(_shape("sphericity")), 0.03, _times("sphericity")),
    # One part more is found by quality's own signals; a cohort is asked for what is odd in it.
    Feature(
        _shape("components"), 0.5, lambda value, middle: f"has {value:.0f} parts, the cohort's median is {middle:g}"
    ),
    Feature(_shape("offset_mm", 0), 1.0, _place("right/left")),
    Feature(_shape("offset_mm", 1), 1.0, _place("front/back")),
    Feature(_shape("offset_mm", 2), 1.0, _place("above/below")),
)


def find_outliers(records: Iterable[CaseRecord]) -> dict[str, dict[int, str]]:
    """Labels that stand out: per name and label value one line that says how.

    Empty labels are not counted: their quality says so already.

    Parameters
    ----------
    records : iterable of CaseRecord
        All of a cohort; failed ones are passed over.
    """
    labels: dict[int, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    for record in records:
        for label in record.labels:
            if label["volume_ml"] > 0:
                labels[label["value"]].append((record.name, label))
    found: dict[str, dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for value, entries in labels.items():
        for feature in FEATURES:
            for name, text in _standing_out(feature, entries):
                found[name][value].append(text)
    return {name: {value: "; ".join(texts) for value, texts in mine.items()} for name, mine in found.items()}


def _standing_out(feature: Feature, entries: list[tuple[str, dict[str, Any]]]) -> Iterable[tuple[str, str]]:
    known = [(name, value) for name, label in entries if (value := feature.read(label)) is not None]
    middle = float(np.median([value for _, value in known])) if known else 0.0
    for (name, value), z in zip(known, robust_z([v for _, v in known], feature.least_sd), strict=True):
        if abs(z) > limit(len(known)):
            yield name, f"{feature.tell(value, middle)} (robust z {z:+.1f})"


def limit(count: int) -> float:
    """Robust z beyond which one of so many values stands out."""
    return LIMIT * (1 + FEW[0] / count + FEW[1] / count**2)


def robust_z(values: list[float], least_sd: float) -> list[float]:
    """Distance from the median in robust standard deviations; zeros when there are too few values."""
    if len(values) < FEWEST:
        return [0.0] * len(values)
    array = np.asarray(values)
    middle = np.median(array)
    spread = max(MAD_TO_SD * float(np.median(np.abs(array - middle))), least_sd)
    return [float(z) for z in (array - middle) / spread]
