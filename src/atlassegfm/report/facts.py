"""What is known about each label of a result, in one shape for picture, table and report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from atlassegfm.segmentation import Segmentation


def label_facts(segmentation: Segmentation) -> list[dict[str, Any]]:
    """Per label value, name, volume_ml and quality, in order of the values.

    Parameters
    ----------
    segmentation : Segmentation
        Facts missing from its report are counted from its label map.
    """
    listed = {int(entry["value"]): entry for entry in segmentation.report.get("labels", [])}
    facts = []
    for value, name in sorted(segmentation.names.items()):
        fact = {"value": value, "name": name, **listed.get(value, {})}
        fact["quality"] = fact.get("quality") or {}
        if fact.get("volume_ml") is None:
            count = int(np.count_nonzero(segmentation.labels.data == value))
            fact["volume_ml"] = count * segmentation.labels.grid.voxel_volume_ml
        facts.append(fact)
    return facts


def predicted(quality: Mapping[str, Any]) -> str:
    """The predicted Dice of a label and its interval, such as "0.81 (0.62 to 0.90)"; empty where there is none."""
    if not quality.get("interval") or quality.get("score") is None:
        return ""
    low, high = quality["interval"]
    return f"{quality['score']:.2f} ({low:.2f} to {high:.2f})"
