"""No model: the atlas prior itself is the result."""

from atlassegfm.models.info import ModelInfo

INFO = ModelInfo(
    name="none",
    summary="registration alone: the warped label is the result",
    dimension="3D",
    prompts=("mask",),
    licence="Apache-2.0",
)
