"""Does a label hold grey levels as different as in the atlas? A result that swallowed its neighbour holds more.

A spleen with half of a stomach in it has a border like a spleen's nearly everywhere, comes back to where it set out
from and may even have the expected volume. What it is made of gives it away: its grey levels spread several times as
far as the spleen's in the atlas.
"""

from __future__ import annotations

from dataclasses import dataclass

import edt
import numpy as np
from scipy import ndimage

from atlassegfm.volume import Volume, bounding_box

#: Noise is blurred away, and the border left out, by this part of the label's `shapes.radius`.
BLURRED = 0.1
#: Percentiles between which a spread is taken: of a label or its surroundings, and of an image.
TAILS, IMAGE_TAILS = (5.0, 95.0), (0.5, 99.5)
#: Reach in mm of the surroundings, the label itself included.
AROUND_MM = 25.0
#: Least spread within a label as part of that around it: noise that is gone must not make any other look wide.
LEAST = 0.02
#: With fewer voxels away from its border a label is taken as a whole.
FEWEST = 30
#: Every so many voxels along an axis are enough for the percentiles of an image.
EVERY = 3


@dataclass(frozen=True)
class Greys:
    """How far grey levels spread, in the image's own unit.

    Parameters
    ----------
    inside : float
        Within a label, noise and border left out.
    around : float
        Within `AROUND_MM` of it.
    image : float
        In the whole image.
    """

    inside: float
    around: float
    image: float

    def spread_over(self, atlas: Greys) -> float:
        """Spread within the label over that in the atlas, both as part of the contrast; by the more lenient of two.

        Contrast is what the surroundings show, and what the image shows: either may be another one only because the
        scan shows more or less of the body.
        """
        ratios = []
        for here, there in ((self.around, atlas.around), (self.image, atlas.image)):
            if here > 0.0 and there > 0.0:
                ratios.append(max(self.inside / here, LEAST) / max(atlas.inside / there, LEAST))
        return min(ratios, default=1.0)


def image_spread(image: np.ndarray) -> float:
    """Spread of the grey levels of a whole image."""
    return _spread(image[::EVERY, ::EVERY, ::EVERY], IMAGE_TAILS)


def greys_of(image: Volume, mask: np.ndarray, radius_mm: float, image_spread: float) -> Greys | None:
    """What a label is made of.

    Parameters
    ----------
    image : Volume
        Intensities.
    mask : numpy.ndarray of bool, shape of the image
        The label.
    radius_mm : float
        Its `shapes.radius` in the atlas; the same for results that are compared with it.
    image_spread : float
        From `image_spread`.

    Returns
    -------
    Greys or None
        None for an empty mask.
    """
    size, blur = tuple(image.spacing.tolist()), BLURRED * radius_mm
    box = bounding_box(mask, np.ceil((AROUND_MM + 1.0) / image.spacing).astype(int))
    if box is None:
        return None
    inside, values = np.ascontiguousarray(mask[box]), image.data[box].astype(np.float32)
    near = edt.edt(~inside, anisotropy=size) <= AROUND_MM
    # Distances are between centres: the border lies half a voxel nearer.
    core = edt.edt(inside, anisotropy=size) - 0.5 * min(size) >= blur
    if np.count_nonzero(core) < FEWEST:
        core = inside
    around = _spread(values[near], TAILS)
    # What leaks in from outside tempers the ratio: blurred by itself alone, noisy queries of clean atlases look mixed.
    blurred = ndimage.gaussian_filter(values, [blur / s for s in size], truncate=3.0)
    return Greys(_spread(blurred[core], TAILS), around, image_spread)


def _spread(values: np.ndarray, tails: tuple[float, float]) -> float:
    low, high = np.percentile(values, tails)
    return float(high - low)
