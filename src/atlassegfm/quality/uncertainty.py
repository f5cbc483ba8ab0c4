"""A map of where a result is likely to be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import edt
import numpy as np
from scipy import special

from atlassegfm.quality.shapes import radius
from atlassegfm.volume import Volume, bounding_box

if TYPE_CHECKING:
    from atlassegfm.segmentation import Segmentation

#: The map ends where the contour would have to be off by so many standard deviations.
REACH = 3.0
#: Steps of the map's values: finer ones would be noise, and files several times as large.
STEP = 0.005


def uncertainty_map(segmentation: Segmentation) -> Volume:
    """How probably each voxel's label is wrong, by what the model says of the voxel and what is known of the label.

    Two doubts are put together, the larger one counts: the fused probability is near one half, and the voxel lies near
    a contour that is off by as much as the label's predicted Dice says (see `border_sigma`). The first is small
    wherever a contour of the registration was followed, however wrong it may be; the second knows no place along the
    border that is worse than another.

    Parameters
    ----------
    segmentation : Segmentation
        Labels, probabilities where there was a model, and the report's predicted Dice.

    Returns
    -------
    Volume
        float32 on the query's grid, 0 (sure) to 0.5 (no idea). A label that is empty leaves no trace.
    """
    labels = segmentation.labels
    out = np.zeros(labels.grid.shape, dtype=np.float32)
    for entry in segmentation.report["labels"]:
        value = entry["value"]
        if value in segmentation.probabilities:
            box, probability = segmentation.probabilities[value]
            out[box] = np.maximum(out[box], np.minimum(probability, 1.0 - probability))
        mask = labels.data == value
        sigma = border_sigma(mask, labels.spacing, entry["quality"]["score"])
        box = bounding_box(mask, np.ceil(REACH * sigma / labels.spacing).astype(int) + 1)
        if box is not None:
            out[box] = np.maximum(out[box], _near_the_border(mask[box], labels.spacing, sigma))
    return Volume(np.round(out / STEP).astype(np.float32) * np.float32(STEP), labels.grid)


def border_sigma(mask: np.ndarray, spacing: Sequence[float], dice: float) -> float:
    """Standard deviation in mm of the distance between a mask's border and the true one, from the Dice of the two.

    Where the true border lies a normally distributed distance d off, the masks of volume V and surface S differ by
    S mean|d| = S sigma sqrt(2 / pi), which is 2 V (1 - Dice): sigma = sqrt(2 pi) (1 - Dice) V / S.

    Parameters
    ----------
    mask : numpy.ndarray of bool, 3D
        The result.
    spacing : three floats
        Voxel spacing in mm.
    dice : float
        Predicted, in [0, 1].

    Returns
    -------
    float
        0 for an empty mask.
    """
    return float(np.sqrt(2.0 * np.pi) / 3.0 * radius(mask, spacing) * (1.0 - dice))


def _near_the_border(mask: np.ndarray, spacing: Sequence[float], sigma: float) -> np.ndarray:
    """Probability of lying on the other side of a border that is off by `sigma` mm."""
    size = tuple(float(s) for s in spacing)
    inside = np.ascontiguousarray(mask)
    # A mask that fills its image has no border in it; the image's own faces are none.
    distance = np.where(inside, edt.edt(inside, anisotropy=size), edt.edt(~inside, anisotropy=size))
    # The distance is that of voxel centres to centres across the border, which lies half a voxel nearer.
    distance = np.maximum(distance - 0.5 * float(np.prod(size)) ** (1.0 / 3.0), 0.0)
    found = special.ndtr(-distance / max(sigma, 1e-6))
    return np.where(distance <= REACH * max(sigma, 1e-6), found, 0.0).astype(np.float32)
