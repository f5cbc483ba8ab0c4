"""MedSAM2 (Ma et al., 2025): SAM 2.1 (tiny) trained on medical volumes, through the package sam2.

Its configuration is SAM 2.1's with pictures of 512 instead of 1024 pixels; its weights are published in sam2's own
format, which transformers does not read.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np

from atlassegfm.errors import ModelError
from atlassegfm.models.info import ModelInfo, Weights
from atlassegfm.models.slices import centre_at, edges_of
from atlassegfm.models.video import FramePrompt, VideoModel, VideoOptions, normalised
from atlassegfm.options import check_bounds

#: Edge of the network's pictures.
SIZE = 512
#: Width of the first stage and number of blocks of the encoder to the letter of its configuration.
SIZES = {(96, 12): "t", (96, 16): "s", (112, 24): "b+", (144, 48): "l"}
_patching = threading.Lock()


@dataclass(frozen=True)
class Options(VideoOptions):
    """Options of MedSAM2.

    Parameters
    ----------
    size : int
        Edge of the network's pictures in pixels, 512 in its training.
    """

    size: int = SIZE

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, {"size": (self.size >= 64 and self.size % 32 == 0, "a multiple of 32, 64 or more")})


INFO = ModelInfo(
    name="medsam2",
    summary="MedSAM2: SAM 2.1 trained on medical volumes, follows an object through the slices",
    dimension="2D",
    prompts=("click", "box", "mask"),
    licence="Apache-2.0",
    target="atlassegfm.models.catalogue.medsam2:MedSam2",
    modalities=("CT", "MR", "US", "PET"),
    intensity="CT: soft-tissue window; else 0.5th to 99.5th percentile; 8 bits, grey as RGB (option window)",
    spacing="as it is; each slice becomes 512 x 512 pixels (option axis)",
    weights=Weights(
        licence="not known here, read the model card",
        commercial=None,
        main="MedSAM2_latest.pt",
        about_mb=156,
        repo="wanglab/MedSAM2",
        files=("MedSAM2_latest.pt",),
    ),
    extra="sam2",
    package="sam2",
    options=Options,
    cpu_seconds=3.0,
)


class MedSam2(VideoModel):
    """sam2's video predictor, given slices in place of a folder of JPEG files."""

    info = INFO

    def _key(self) -> Hashable:
        return (super()._key(), self.options.size)

    def _build(self) -> Any:  # noqa: ANN401
        from atlassegfm.models.checkpoint import load_checkpoint, load_into, state_of
        from atlassegfm.models.torchvision_ops import mend_torchvision

        mend_torchvision()
        from sam2.build_sam import build_sam2_video_predictor

        # What sam2 says at every frame.
        logging.getLogger("sam2").setLevel(logging.ERROR)
        state = state_of(load_checkpoint(self.weights.path, self.weights), "model", self.weights)
        cells = self.options.size // 16
        attention = "++model.memory_attention.layer"
        network = build_sam2_video_predictor(
            f"configs/sam2.1/sam2.1_hiera_{_letter(state, str(self.weights.path))}.yaml",
            None,
            device="cpu",
            hydra_overrides_extra=[
                f"++model.image_size={self.options.size}",
                f"{attention}.self_attention.feat_sizes=[{cells},{cells}]",
                f"{attention}.cross_attention.feat_sizes=[{cells},{cells}]",
            ],
        )
        load_into(network, state, self.weights, "SAM 2.1")
        # Holes are filled by an extension that most installations lack; without it everywhere, results are the same.
        network.fill_hole_area = 0
        return network

    def _follow(self, frames: np.ndarray, prompt: FramePrompt) -> Iterator[tuple[int, np.ndarray]]:
        import torch
        from tqdm import tqdm

        network = self.network()
        state = _state(network, frames, self.options.size)
        for reverse in (False, True):
            with torch.inference_mode(), self._autocast():
                _show(network, state, prompt)
                with patch("sam2.sam2_video_predictor.tqdm", lambda steps, **_: tqdm(steps, disable=True)):
                    for frame, _, logits in network.propagate_in_video(
                        state, start_frame_idx=prompt.frame, reverse=reverse
                    ):
                        yield frame, logits[0, 0].float().cpu().numpy()
                network.reset_state(state)


def _state(network: Any, frames: np.ndarray, size: int) -> dict[str, Any]:  # noqa: ANN401
    """The predictor's state for frames that are in memory.

    It reads a folder of JPEG files otherwise, which would lose grey levels; the function that reads them is the one
    place where tensors can come in.
    """
    pixels = normalised(frames, size).to(network.device)

    def in_memory(**_: Any) -> tuple[Any, int, int]:  # noqa: ANN401
        return pixels, frames.shape[1], frames.shape[2]

    with _patching, patch("sam2.sam2_video_predictor.load_video_frames", in_memory):
        return network.init_state(video_path="")


def _show(network: Any, state: dict[str, Any], prompt: FramePrompt) -> None:  # noqa: ANN401
    """Give the prompt to the predictor."""
    told: dict[str, Any] = {"inference_state": state, "frame_idx": prompt.frame, "obj_id": 1}
    if prompt.mask is not None:
        network.add_new_mask(**told, mask=prompt.mask)
    elif prompt.box is not None:
        network.add_new_points_or_box(**told, box=np.array(edges_of(prompt.box), np.float32))
    else:
        points, labels = np.array([centre_at(prompt.point)], np.float32), np.array([1], np.int32)
        network.add_new_points_or_box(**told, points=points, labels=labels)


def _letter(state: dict[str, Any], path: str) -> str:
    """Which of SAM 2.1's sizes the weights are."""
    try:
        width = state["image_encoder.trunk.patch_embed.proj.weight"].shape[0]
        blocks = len({key.split(".")[3] for key in state if key.startswith("image_encoder.trunk.blocks.")})
        return SIZES[width, blocks]
    except (KeyError, AttributeError, IndexError) as error:
        raise ModelError(
            f"{path}: expected weights of SAM 2.1 in one of its four sizes, got something else ({error})"
        ) from error
