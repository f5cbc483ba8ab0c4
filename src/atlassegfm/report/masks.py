"""One mask per label, for structures that overlap: what the files are called and what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from atlassegfm.content import safe_name

if TYPE_CHECKING:
    from atlassegfm.segmentation import Segmentation


def mask_names(names: Mapping[int, str]) -> dict[int, str]:
    """Label names as parts of file names, another one for each label, whatever a file system makes of capitals.

    Spaces become underscores; of labels whose names come out alike all get their value behind it.
    """
    plain = {value: safe_name("_".join(name.split()) or "label") for value, name in names.items()}
    folded = [name.casefold() for name in plain.values()]
    return {v: f"{name}_{v}" if folded.count(name.casefold()) > 1 else name for v, name in plain.items()}


def label_mask(segmentation: Segmentation, value: int) -> np.ndarray:
    """The voxels of one label on the whole grid, bool: by itself if that was asked for, else in competition."""
    if value not in segmentation.masks:
        return segmentation.labels.data == value
    box, mask = segmentation.masks[value]
    out = np.zeros(segmentation.labels.grid.shape, dtype=bool)
    out[box] = mask
    return out
