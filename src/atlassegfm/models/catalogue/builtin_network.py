"""The part of the built-in model that was trained beforehand, on synthetic scenes."""

from atlassegfm.builtin.options import BuiltinOptions
from atlassegfm.models.info import ModelInfo

INFO = ModelInfo(
    name="builtin-network",
    summary="network pre-trained on synthetic scenes and customised by the atlas; no download",
    dimension="3D",
    prompts=("mask", "click", "box", "box2d"),
    licence="Apache-2.0",
    target="atlassegfm.models.refiner:RefinerModel",
    intensity="standardised over the surroundings, and seen from the prior",
    spacing="isotropic working copy with voxels of the scan's own volume",
    options=BuiltinOptions,
)
