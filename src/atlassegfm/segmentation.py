"""What a segmentation is: label maps on the query's grid and the report."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from atlassegfm.volume import Volume


@dataclass(frozen=True, eq=False)
class Segmentation:
    """What comes out of `segment`; all label maps lie on the query's grid.

    Parameters
    ----------
    labels : Volume
        The result.
    atlas_labels : Volume
        M_atlas, registration alone.
    model_labels : Volume or None
        M_fm, the model alone; None when there was no model.
    names, colours : dict
        Per label value, from the atlas.
    report : dict
        JSON-ready: parameters, timings, registration, one entry per label, warnings.
    warnings : list of str
        What the user should know.
    probabilities : dict of int to (box, float32 array)
        Per label value the fused probability within a box of the grid, outside of which it is 0; empty unless asked
        for.
    masks : dict of int to (box, bool array)
        Per label value its voxels within a box of the grid, decided by itself whatever the others claim; empty unless
        asked for.
    """

    labels: Volume
    atlas_labels: Volume
    model_labels: Volume | None
    names: dict[int, str]
    colours: dict[int, tuple[int, int, int]]
    report: dict[str, Any]
    warnings: list[str] = field(default_factory=list)
    probabilities: dict[int, tuple[tuple[slice, ...], np.ndarray]] = field(default_factory=dict)
    masks: dict[int, tuple[tuple[slice, ...], np.ndarray]] = field(default_factory=dict)
