"""From masks on some planes to a mask on every slice: shapes between planes are interpolated.

Between two planes the signed distances to both borders are mixed linearly, and what comes out inside belongs to the
structure (shape-based interpolation: Raya and Udupa, IEEE Trans. Med. Imaging 9, 1990, 32-42).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import edt
import numpy as np

from atlassegfm.volume import bounding_box

#: A plane this near to a slice, in slices, is that slice's.
SAME_SLICE = 0.25
#: A gap is filled up to this many times the structure's usual distance between planes...
USUAL_GAP = 1.5
#: ...and up to so many slices or millimetres, whichever allows more.
MAX_GAP_SLICES, MAX_GAP_MM = 3.0, 12.0


@dataclass(frozen=True)
class Filled:
    """What was done between the planes.

    Parameters
    ----------
    slices : int
        How many slices were filled by interpolation because nothing was drawn on them.
    left : int
        How many slices between the first and the last plane were left empty.
    """

    slices: int
    left: int


def on_every_slice(
    planes: Mapping[float, np.ndarray], count: int, step_mm: float, pixel_mm: tuple[float, float]
) -> tuple[np.ndarray, Filled]:
    """A structure on all slices of an image.

    Parameters
    ----------
    planes : mapping of float to numpy.ndarray of bool, shape (nu, nv)
        Position of each plane, in slices (whole numbers are slices), to its mask.
    count : int
        Number of slices.
    step_mm : float
        Distance between slices.
    pixel_mm : tuple of float
        Size of a voxel along u and v.

    Returns
    -------
    numpy.ndarray of bool, shape (nu, nv, count)
    Filled
    """
    at = np.array(sorted(planes))
    masks = [planes[p] for p in at]
    out = np.zeros((*masks[0].shape, count), dtype=bool)
    gaps = np.diff(at)
    usual = float(np.quantile(gaps, 0.75, method="higher")) if gaps.size else 1.0
    widest = min(USUAL_GAP * usual, max(MAX_GAP_SLICES, MAX_GAP_MM / step_mm))
    filled = left = 0
    for s in range(max(0, int(np.ceil(at[0] - 0.5))), min(count - 1, int(np.floor(at[-1] + 0.5))) + 1):
        nearest = int(np.argmin(np.abs(at - s)))
        above = int(np.searchsorted(at, s))
        inside = 0 < above < len(at)
        gap = gaps[above - 1] if inside else np.inf
        if abs(at[nearest] - s) <= SAME_SLICE:
            out[..., s] = masks[nearest]
        elif inside and gap <= max(widest, 1 + SAME_SLICE):
            part = (s - at[above - 1]) / gap
            out[..., s] = _mixed(masks[above - 1], masks[above], part, pixel_mm)
            filled += gap > 1 + SAME_SLICE
        elif abs(at[nearest] - s) <= 0.5:
            out[..., s] = masks[nearest]
        else:
            left += 1
    return out, Filled(int(filled), left)


def _mixed(lower: np.ndarray, upper: np.ndarray, part: float, pixel_mm: tuple[float, float]) -> np.ndarray:
    """The shape that lies `part` of the way from one to the other."""
    box = bounding_box((lower | upper)[..., None], margin=1)
    out = np.zeros_like(lower)
    if box is not None:
        distances = [_signed(mask[box[:2]], pixel_mm) for mask in (lower, upper)]
        out[box[:2]] = (1 - part) * distances[0] + part * distances[1] > 0
    return out


def _signed(mask: np.ndarray, pixel_mm: tuple[float, float]) -> np.ndarray:
    """Distance to the border, mm, positive inside; far outside everywhere when the mask is empty."""
    if not mask.any():
        return np.full(mask.shape, -float(np.hypot(*mask.shape) * max(pixel_mm)))
    inside = edt.edt(np.asfortranarray(mask), anisotropy=pixel_mm)
    return inside - edt.edt(np.asfortranarray(~mask), anisotropy=pixel_mm)
