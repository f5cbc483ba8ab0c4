"""SAM 2.1 (Ravi et al., 2024) on the slices of a volume, through transformers' Sam2VideoModel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from atlassegfm.errors import ModelError
from atlassegfm.models.info import ModelInfo, Weights
from atlassegfm.models.slices import centre_at, edges_of
from atlassegfm.models.video import FramePrompt, VideoModel, VideoOptions, normalised

#: Labels of the two corners of a box among the points.
CORNERS = (2, 3)

INFO = ModelInfo(
    name="sam2",
    summary="SAM 2.1 (tiny): follows an object through the slices; trained on videos",
    dimension="2D",
    prompts=("click", "box", "mask"),
    licence="Apache-2.0",
    target="atlassegfm.models.catalogue.sam2:Sam2",
    modalities=("any",),
    intensity="CT: soft-tissue window; else 0.5th to 99.5th percentile; 8 bits, grey as RGB (option window)",
    spacing="as it is; each slice becomes 1024 x 1024 pixels (option axis)",
    weights=Weights(
        licence="Apache-2.0",
        main=".",
        about_mb=156,
        repo="facebook/sam2.1-hiera-tiny",
        files=("config.json", "model.safetensors", "*processor_config.json"),
    ),
    extra="transformers",
    package="transformers",
    options=VideoOptions,
    cpu_seconds=12.0,
)


class Sam2(VideoModel):
    """transformers' network, given frames as tensors: its processor would want torchvision."""

    info = INFO

    def _build(self) -> Any:  # noqa: ANN401
        from atlassegfm.models.torchvision_ops import mend_torchvision

        mend_torchvision()
        from transformers import Sam2VideoModel
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        folder = self.weights.path
        try:
            return Sam2VideoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ModelError(
                f"{folder} (SHA-256 {self.weights.sha256}): expected a Sam2VideoModel of transformers (config.json, "
                f"model.safetensors), got something else ({str(error).splitlines()[0][:200]}); download it again"
            ) from error

    def _follow(self, frames: np.ndarray, prompt: FramePrompt) -> Iterator[tuple[int, np.ndarray]]:
        import torch
        from torch.nn.functional import interpolate

        network, shape = self.network(), frames.shape[1:]
        # After the network, whose loading makes this importable beside a torchvision of another build.
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

        size = network.config.image_size
        pixels = normalised(frames, size)
        for reverse in (False, True):
            session = Sam2VideoInferenceSession(
                video=pixels,
                video_height=shape[0],
                video_width=shape[1],
                inference_device=self.device,
                video_storage_device="cpu",
                dtype=torch.float32,
            )
            number = session.obj_id_to_idx(1)
            if prompt.mask is not None:
                square = torch.from_numpy(prompt.mask.astype(np.float32))[None, None]
                session.add_mask_inputs(number, prompt.frame, (interpolate(square, (size, size)) > 0.5).float())
            else:
                session.add_point_inputs(number, prompt.frame, _points(prompt, shape, size))
            session.obj_with_new_inputs = [1]
            with torch.inference_mode(), self._autocast():
                network(inference_session=session, frame_idx=prompt.frame)
                steps = network.propagate_in_video_iterator(session, start_frame_idx=prompt.frame, reverse=reverse)
                for step in steps:
                    logits = interpolate(step.pred_masks.float(), shape, mode="bilinear", align_corners=False)
                    yield step.frame_idx, logits[0, 0].cpu().numpy()


def _points(prompt: FramePrompt, shape: tuple[int, int], size: int) -> dict[str, Any]:
    """Click or corners of the box in the network's pixels, whose centres are its whole numbers."""
    import torch

    if prompt.point is not None:
        pairs, labels = [centre_at(prompt.point)], [1]
    else:
        edges = edges_of(prompt.box)
        pairs, labels = [edges[:2], edges[2:]], list(CORNERS)
    scale = torch.tensor([size / shape[1], size / shape[0]])
    coordinates = torch.tensor(pairs, dtype=torch.float32) * scale - 0.5
    return {"point_coords": coordinates[None, None], "point_labels": torch.tensor([[labels]], dtype=torch.int32)}
