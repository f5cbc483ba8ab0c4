"""The built-in model: two opinions, trees that the atlas teaches and a network that it customises."""

from atlassegfm.builtin.options import BuiltinOptions
from atlassegfm.models.info import ModelInfo

INFO = ModelInfo(
    name="builtin",
    summary="boosted trees and a pre-trained network, both taught by the atlas itself; no download",
    dimension="3D",
    prompts=("mask", "click", "box", "box2d"),
    licence="Apache-2.0",
    target="atlassegfm.models.both:BothModel",
    intensity="ranks (trees) and standardised intensities (network) around the prior",
    spacing="trees as it is, lengths in mm; network on an isotropic working copy",
    options=BuiltinOptions,
)
