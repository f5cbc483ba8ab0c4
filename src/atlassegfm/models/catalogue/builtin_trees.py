"""The part of the built-in model that learns from nothing but the atlas."""

from atlassegfm.models.info import ModelInfo

INFO = ModelInfo(
    name="builtin-trees",
    summary="boosted trees on voxels near the prior, taught by the atlas alone; no download",
    dimension="3D",
    prompts=("mask", "click", "box", "box2d"),
    licence="Apache-2.0",
    target="atlassegfm.models.voxelwise:VoxelwiseModel",
    intensity="ranks within the neighbourhood of the prior",
    spacing="as it is; lengths are measured in mm",
)
