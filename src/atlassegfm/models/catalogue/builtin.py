"""The built-in model: taught by the atlas itself, nothing to download."""

from atlassegfm.models.info import ModelInfo

INFO = ModelInfo(
    name="builtin",
    summary="voxel classifier taught by the atlas itself; no download",
    dimension="3D",
    prompts=("mask", "click", "box", "box2d"),
    licence="Apache-2.0",
    target="atlassegfm.models.voxelwise:VoxelwiseModel",
    intensity="ranks within the neighbourhood of the prior",
    spacing="as it is; lengths are measured in mm",
)
