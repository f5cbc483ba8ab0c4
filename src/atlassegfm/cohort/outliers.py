"""Results that stand out from their own cohort, by the volumes of their labels."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable

import numpy as np

from atlassegfm.cohort.records import CaseRecord

#: Fewer volumes than this are no distribution.
FEWEST = 8
#: Robust z beyond which a volume stands out (Iglewicz and Hoaglin 1993: 3.5).
LIMIT = 3.5
#: Median absolute deviation of a normal distribution, in standard deviations, inverted.
MAD_TO_SD = 1.4826
#: Spread that is assumed at the least, as a logarithm of the volume: a cohort of equals must not flag trifles.
LEAST_SD = 0.05


def find_outliers(records: Iterable[CaseRecord]) -> dict[str, dict[int, str]]:
    """Labels whose volume stands out: per name and label value one line that says how.

    The robust z is that of the logarithm of the volume, as halving and doubling are equally odd. Empty labels are not
    counted: their quality says so already.

    Parameters
    ----------
    records : iterable of CaseRecord
        All of a cohort; failed ones are passed over.
    """
    volumes: dict[int, list[tuple[str, float]]] = defaultdict(list)
    for record in records:
        for label in record.labels:
            if label["volume_ml"] > 0:
                volumes[label["value"]].append((record.name, math.log(label["volume_ml"])))
    found: dict[str, dict[int, str]] = defaultdict(dict)
    for value, entries in volumes.items():
        for (name, log_volume), z in zip(entries, robust_z([v for _, v in entries]), strict=True):
            if abs(z) > LIMIT:
                middle = float(np.median([v for _, v in entries]))
                times = math.exp(log_volume - middle)
                found[name][value] = f"volume is {times:.2g} times the cohort's median (robust z {z:+.1f})"
    return dict(found)


def robust_z(values: list[float]) -> list[float]:
    """Distance from the median in robust standard deviations; zeros when there are too few values."""
    if len(values) < FEWEST:
        return [0.0] * len(values)
    array = np.asarray(values)
    middle = np.median(array)
    spread = max(MAD_TO_SD * float(np.median(np.abs(array - middle))), LEAST_SD)
    return [float(z) for z in (array - middle) / spread]
