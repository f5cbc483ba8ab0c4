"""Regions of interest, which may overlap, and the label map that is made of them, in which they may not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from atlassegfm.label_names import Colour
from atlassegfm.volume import Grid, Volume, bounding_box

#: Losses below this part of a structure are not told one by one.
LOSS_TOLD = 0.005


@dataclass(frozen=True, eq=False)
class Region:
    """A part of a label map: its value, and its voxels within a box of the grid."""

    value: int
    box: tuple[slice, slice, slice]
    mask: np.ndarray

    @property
    def count(self) -> int:
        """Number of voxels."""
        return int(np.count_nonzero(self.mask))


def crop(value: int, mask: np.ndarray) -> Region | None:
    """A region of a whole-grid mask; None when that is empty."""
    box = bounding_box(mask)
    return None if box is None else Region(value, box, np.ascontiguousarray(mask[box]))


def painted(regions: Iterable[Region], grid: Grid, names: dict[int, str]) -> tuple[Volume, list[str]]:
    """One label map of regions: where they overlap the smaller one stays, as organs lie in a body contour.

    Returns
    -------
    Volume
        uint8 or uint16.
    list of str
        What was lost to others.
    """
    regions = sorted(regions, key=lambda region: (-region.count, region.value))
    data = np.zeros(grid.shape, dtype=np.min_scalar_type(max((r.value for r in regions), default=1)))
    for region in regions:
        data[region.box][region.mask] = region.value
    left = np.bincount(data.ravel(), minlength=max((r.value for r in regions), default=0) + 1)
    lost = [(region, 1 - left[region.value] / region.count) for region in regions]
    told = [f"{names[region.value]} ({share:.0%})" for region, share in lost if share > LOSS_TOLD]
    notices = []
    if told:
        notices.append(f"structures overlap; the smaller one keeps the voxel, these lose a part: {', '.join(told)}")
    return Volume(data, grid), notices


def colour_of(value: object) -> Colour | None:
    """Three numbers from 0 to 255, None for anything else."""
    try:
        colour = tuple(int(x) for x in value)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        return None
    return colour if len(colour) == 3 and all(0 <= x <= 255 for x in colour) else None
