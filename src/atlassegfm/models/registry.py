"""The models by name. Light: a model's module is imported when it is first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from atlassegfm.errors import InputError
from atlassegfm.models.info import ModelInfo

if TYPE_CHECKING:
    from atlassegfm.models.base import SegmentationModel

MODELS: dict[str, ModelInfo] = {
    info.name: info
    for info in (
        ModelInfo(
            name="builtin",
            summary="voxel classifier taught by the atlas itself; no download",
            dimension="3D",
            prompts=("mask", "click", "box", "box2d"),
            licence="Apache-2.0",
            target="atlassegfm.models.voxelwise:VoxelwiseModel",
        ),
        ModelInfo(
            name="none",
            summary="registration alone: the warped label is the result",
            dimension="3D",
            prompts=("mask",),
            licence="Apache-2.0",
        ),
        ModelInfo(
            name="builtin-network",
            summary="pre-trained network customised by the atlas; no download",
            dimension="3D",
            prompts=("mask", "click", "box", "box2d"),
            licence="Apache-2.0",
            target="atlassegfm.models.refiner:RefinerModel",
        ),
    )
}


def model_info(name: str) -> ModelInfo:
    """What a model declares about itself.

    Raises
    ------
    InputError
        If there is no model of that name.
    """
    if name not in MODELS:
        raise InputError(f"unknown model {name!r}: choose one of {', '.join(MODELS)}")
    return MODELS[name]


def create_model(name: str, *, device: str, seed: int) -> SegmentationModel | None:
    """A fresh session; None for the model "none".

    Parameters
    ----------
    name : str
        A name out of `MODELS`.
    device : {"cpu", "cuda"}
        Where to compute.
    seed : int
        Seed of everything random in the model.
    """
    info = model_info(name)
    if info.target is None:
        return None
    module, cls = info.target.split(":")
    return getattr(importlib.import_module(module), cls)(device=device, seed=seed)
