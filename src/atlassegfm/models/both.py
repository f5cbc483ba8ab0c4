"""The built-in model: two opinions that err in different ways (docs/decisions/0009-customising.md).

Boosted trees follow what voxels near the prior look like and are the better ones where the scans look alike. Where they
are not, the trees tear the prior to pieces; the network, which knows shapes and borders from synthetic scenes, holds.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np

from atlassegfm.builtin.options import BuiltinOptions
from atlassegfm.competition import favouring_dice
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.models.refiner import RefinerModel
from atlassegfm.models.voxelwise import VoxelwiseModel
from atlassegfm.overlap import dice
from atlassegfm.prompts import THRESHOLD, Prompt
from atlassegfm.volume import Volume

#: Dice of the trees' answer with the prior from which on they have all the say, and below which the network has it.
AGREED, TORN = 0.9, 0.7


class BothModel(SegmentationModel):
    """`VoxelwiseModel` and `RefinerModel` asked the same; their probabilities are mixed by `network_share`.

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Where the network computes; the trees know the CPU only.
    seed : int
        Seed of both.
    options : BuiltinOptions, optional
        Of the network.
    """

    lasting = True

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
        counts = {"learnable_parameters": network["learnable_parameters"], "trees": trees["trees"]}
        return {**counts, "voxelwise": trees, "network": network}

    def identity(self, value: int) -> Hashable | None:
        """What both learnt."""
        both = self._trees.identity(value), self._network.identity(value)
        return None if None in both else both

    def segment_support(self, support: Support, value: int) -> np.ndarray:
        """Mixture of both honest answers on the atlas."""
        trees = self._trees.segment_support(support, value)
        share = network_share(support.prompt(value), trees)
        return trees if share == 0.0 else _mixed(trees, self._network.segment_support(support, value), share)

    def set_image(self, image: Volume) -> None:
        """Both look at the image."""
        self._trees.set_image(image)
        self._network.set_image(image)

    def segment(self, prompt: Prompt) -> np.ndarray:
        """Mixture of both probabilities, float32, on the image's grid."""
        trees = self._trees.segment(prompt)
        share = network_share(prompt, trees)
        return trees if share == 0.0 else _mixed(trees, self._network.segment(prompt), share)


def network_share(prompt: Prompt | None, trees: np.ndarray) -> float:
    """Weight of the network, 0 to 1: the more, the less the trees' answer agrees with the prior they were given.

    One half where there is no prior, because the prompt is a click or a box.
    """
    if prompt is None or prompt.kind != "mask":
        return 0.5
    agreement = dice(favouring_dice(trees) >= THRESHOLD, prompt.mask >= THRESHOLD)
    return float(np.clip((AGREED - agreement) / (AGREED - TORN), 0.0, 1.0))


def _mixed(trees: np.ndarray, network: np.ndarray, share: float) -> np.ndarray:
    return trees + np.float32(share) * (network - trees)
