"""The session: sees an image once and answers one prompt for each label."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage

from atlassegfm.models.base import SegmentationModel
from atlassegfm.prompts import THRESHOLD, Prompt
from atlassegfm.volume import Volume
from atlassegfm_threshold import Options


class Threshold(SegmentationModel):
    """Voxels near the prior, the surer the more their intensity is that of the prior's middle.

    Parameters
    ----------
    device, seed
        What every model is given; this one needs neither.
    options : Options
        What the user chose.
    """

    def __init__(self, *, device: str, seed: int, options: Options) -> None:
        self._options = options
        self._image: Volume | None = None

    def set_image(self, image: Volume) -> None:
        """Look at an image. Costly preparation would be done here, once for all labels."""
        self._image = image

    def segment(self, prompt: Prompt) -> np.ndarray:
        """Foreground probability, float32 in [0, 1], on the image's grid."""
        spacing, data = self._image.spacing, self._image.data
        prior = prompt.mask >= THRESHOLD
        depth = ndimage.distance_transform_edt(prior, sampling=spacing)
        core = data[depth >= 0.5 * depth.max()]
        spread = max(float(core.std()), 1e-6)
        likeness = np.exp(-0.5 * ((data - np.median(core)) / (2.0 * spread)) ** 2)
        near = ndimage.distance_transform_edt(~prior, sampling=spacing) <= self._options.reach_mm
        return (likeness * near).astype(np.float32)

    def describe(self) -> dict[str, Any]:
        """What the report says of this model beside its name and licence."""
        return {"reach_mm": self._options.reach_mm}
