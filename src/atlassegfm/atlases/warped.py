"""Atlases carried to a query: images and label memberships on the part of its grid that any label can reach."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlassegfm.atlas import Atlas
from atlassegfm.registration.transform import Transform
from atlassegfm.resampling import carrying_method, label_membership_crop, resample_image
from atlassegfm.volume import Grid, bounding_box

Box = tuple[slice, ...]
#: Surroundings of the labels in mm that are kept: patches and smoothing look a little beyond.
MARGIN_MM = 12.0
#: A membership below this says nothing.
TINY = 0.01
#: Contour of a membership.
HALF = 0.5


@dataclass(frozen=True, eq=False)
class WarpedAtlas:
    """One atlas on a part of the query's grid.

    Parameters
    ----------
    image : numpy.ndarray, float32
        Intensities on the part; 0 outside the atlas's field of view.
    inside : numpy.ndarray of bool, same shape
        Where the atlas's field of view is.
    memberships : dict of int to (box, numpy.ndarray)
        Per label value the fractional membership, float16 in [0, 1], on a box of the part; labels that do not come to
        lie there are left out.
    values : frozenset of int
        Labels that the atlas has, whether they come to lie there or not.
    """

    image: np.ndarray
    inside: np.ndarray
    memberships: dict[int, tuple[Box, np.ndarray]]
    values: frozenset[int]

    def mask(self, value: int, box: Box) -> np.ndarray:
        """Whether the voxels of a box of the part belong to the label, by a membership of at least one half."""
        return self.membership(value, box) >= HALF

    def membership(self, value: int, box: Box) -> np.ndarray:
        """Membership in a label on a box of the part, float32."""
        out = np.zeros(tuple(s.stop - s.start for s in box), dtype=np.float32)
        if value in self.memberships:
            own, data = self.memberships[value]
            low = [max(a.start, b.start) for a, b in zip(own, box, strict=True)]
            high = [min(a.stop, b.stop) for a, b in zip(own, box, strict=True)]
            if all(a < b for a, b in zip(low, high, strict=True)):
                there = tuple(slice(a - s.start, b - s.start) for a, b, s in zip(low, high, box, strict=True))
                here = tuple(slice(a - s.start, b - s.start) for a, b, s in zip(low, high, own, strict=True))
                out[there] = data[here]
        return out


#: Per label value: box of the query's grid, membership there.
Memberships = dict[int, tuple[Box, np.ndarray]]


def carried_memberships(atlas: Atlas, grid: Grid, transform: Transform) -> Memberships:
    """Memberships of an atlas's labels on the query's grid, float16, each on the smallest box that holds it."""
    found: Memberships = {}
    method = carrying_method(atlas.labels.grid, grid, transform)
    for value in atlas.values:
        carried = label_membership_crop(atlas.labels, value, grid, transform, method=method)
        tight = None if carried is None else bounding_box(carried[1] > TINY)
        if tight is not None:
            box = tuple(slice(o.start + t.start, o.start + t.stop) for o, t in zip(carried[0], tight, strict=True))
            found[value] = box, carried[1][tight].astype(np.float16)
    return found


def common_part(carried: Sequence[Memberships], grid: Grid) -> Box:
    """Box of the query's grid that holds all memberships with their surroundings."""
    box = _around([box for memberships in carried for box, _ in memberships.values()])
    margins = np.ceil(MARGIN_MM / grid.spacing).astype(int).tolist()
    return tuple(
        slice(max(0, s.start - margin), min(size, s.stop + margin))
        for s, margin, size in zip(box, margins, grid.shape, strict=True)
    )


def label_box(atlases: Sequence[WarpedAtlas], value: int) -> Box | None:
    """Box of the part that holds what any of the atlases says of a label; None when none says anything."""
    boxes = [atlas.memberships[value][0] for atlas in atlases if value in atlas.memberships]
    return _around(boxes) if boxes else None


def _around(boxes: Sequence[Box]) -> Box:
    """Smallest box that holds all of these."""
    return tuple(slice(min(b[axis].start for b in boxes), max(b[axis].stop for b in boxes)) for axis in range(3))


def labels_of(atlases: Sequence[WarpedAtlas]) -> list[int]:
    """Values that any of the atlases has, ascending."""
    return sorted(set().union(*(atlas.values for atlas in atlases)))


def warp_atlas(atlas: Atlas, memberships: Memberships, grid: Grid, part: Box, transform: Transform) -> WarpedAtlas:
    """The atlas on the box `part` of the query's grid."""
    image = resample_image(atlas.image, grid.cropped(part), transform, fill=np.nan).data
    inside = ~np.isnan(image)
    image[~inside] = 0.0
    moved = {
        value: (tuple(slice(s.start - p.start, s.stop - p.start) for s, p in zip(box, part, strict=True)), data)
        for value, (box, data) in memberships.items()
    }
    return WarpedAtlas(image, inside, moved, frozenset(atlas.values))
