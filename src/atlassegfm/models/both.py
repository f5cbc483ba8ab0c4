"""The built-in model: the mean of two opinions that err in different ways (docs/decisions/0009-customising.md).

Boosted trees follow what voxels near the prior look like and are the better ones where the scans look alike; the
network knows shapes and borders from synthetic scenes and is the steadier one where they do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from atlassegfm.builtin.options import BuiltinOptions
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.models.refiner import RefinerModel
from atlassegfm.models.voxelwise import VoxelwiseModel
from atlassegfm.prompts import Prompt
from atlassegfm.volume import Volume


class BothModel(SegmentationModel):
    """`VoxelwiseModel` and `RefinerModel` asked the same; the answer is the mean of their probabilities.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Where the network computes; the trees know the CPU only.
    seed : int
        Seed of both.
    options : BuiltinOptions, optional
        Of the network.
    """

    def __init__(self, *, device: str = "cpu", seed: int = 0, options: BuiltinOptions | None = None) -> None:
        self._trees = VoxelwiseModel(device=device, seed=seed)
        self._network = RefinerModel(device=device, seed=seed, options=options)

    def load(self) -> None:
        """Load the network's weights."""
        self._network.load()

    def describe(self) -> dict[str, Any]:
        """What the network's weights are."""
        return self._network.describe()

    def customise(self, support: Support) -> dict[str, Any]:
        """Both learn the atlas; see there."""
        trees, network = self._trees.customise(support), self._network.customise(support)
        return {"learnable_parameters": network["learnable_parameters"], "trees": trees, "network": network}

    def segment_support(self, support: Support, value: int) -> np.ndarray:
        """Mean of both honest answers on the atlas."""
        return _mean(self._trees.segment_support(support, value), self._network.segment_support(support, value))

    def set_image(self, image: Volume) -> None:
        """Both look at the image."""
        self._trees.set_image(image)
        self._network.set_image(image)

    def segment(self, prompt: Prompt) -> np.ndarray:
        """Mean of both probabilities, float32, on the image's grid."""
        return _mean(self._trees.segment(prompt), self._network.segment(prompt))


def _mean(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.float32(0.5) * (first + second)
