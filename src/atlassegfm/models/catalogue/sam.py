"""Segment Anything (Kirillov et al., 2023) slice by slice, through transformers' SamModel."""

from __future__ import annotations

from typing import Any

import numpy as np

from atlassegfm.errors import ModelError
from atlassegfm.models.foundation import FoundationModel
from atlassegfm.models.info import ModelInfo, Weights
from atlassegfm.models.slices import SliceOptions, Stack, box_of, centre_at, centre_of, edges_of, slices_of
from atlassegfm.prompts import Prompt
from atlassegfm.volume import Volume

#: Logit of a voxel that M_atlas is sure of: about what SAM's own masks have away from their border.
SURE = 8.0
#: Files of a folder in transformers' format.
FILES = ("config.json", "model.safetensors", "preprocessor_config.json", "processor_config.json")

INFO = ModelInfo(
    name="sam",
    summary="Segment Anything (ViT-B), slice by slice; trained on photographs",
    dimension="2D",
    prompts=("box", "click", "mask"),
    licence="Apache-2.0",
    target="atlassegfm.models.catalogue.sam:Sam",
    modalities=("any",),
    intensity="CT: soft-tissue window; else 0.5th to 99.5th percentile; 8 bits, grey as RGB (option window)",
    spacing="as it is; each slice's longer side becomes 1024 pixels, padded to a square (option axis)",
    weights=Weights(
        licence="Apache-2.0",
        main=".",
        about_mb=375,
        repo="facebook/sam-vit-base",
        files=FILES,
    ),
    extra="transformers",
    package="transformers",
    options=SliceOptions,
    cpu_seconds=24.0,
)


class Sam(FoundationModel):
    """Each slice of M_atlas with the box, click or mask that it has there; embeddings are kept for all labels."""

    info = INFO

    def _look(self, image: Volume) -> None:
        self._stack: Stack | None = None
        self._embeddings: dict[int, Any] = {}

    def _passes(self, image: Volume, labels: int) -> float:
        # A guess: labels lie on half of the slices, and share their embeddings.
        return slices_of(image.grid, self.options) / 2.0

    def _build(self) -> Any:  # noqa: ANN401
        from atlassegfm.models.torchvision_ops import mend_torchvision

        mend_torchvision()
        from transformers import SamModel, SamProcessor
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        folder = self.weights.path
        try:
            # Only safetensors: a pytorch_model.bin would be a pickle.
            network = SamModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            processor = SamProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise ModelError(
                f"{folder} (SHA-256 {self.weights.sha256}): expected a SamModel of transformers ({', '.join(FILES)}), "
                f"got something else ({str(error).splitlines()[0][:200]}); download it again"
            ) from error
        return _SamNetwork(network.eval(), processor)

    def _answer(self, prompt: Prompt, scale: float) -> np.ndarray:
        if self._stack is None:
            self._stack = Stack(self.image, self.options)
        stack, mask = self._stack, self._stack.mask(prompt.mask)
        out = np.zeros(mask.shape, dtype=np.float32)
        for index in np.flatnonzero(mask.any(axis=(1, 2))):
            out[index] = self._slice(int(index), mask[index], prompt.kind)
        return stack.axes.back(out)

    def _slice(self, index: int, mask: np.ndarray, kind: str) -> np.ndarray:
        """Probability on one slice, (rows, columns)."""
        network = self.network()
        if index not in self._embeddings:
            # Half precision and away from the GPU: a megabyte or two for each slice.
            with self._autocast():
                self._embeddings[index] = network.embedding(self._stack.pictures[index], self.device).half().cpu()
        row, column = centre_of(mask, self._stack.in_plane)
        told = {
            "box": {"box": box_of(mask)},
            "click": {"point": (column, row)},
            "mask": {"box": box_of(mask), "mask": mask},
        }[kind]
        with self._autocast():
            return network.answer(self._embeddings[index].to(self.device).float(), mask.shape, self.device, **told)


class _SamNetwork:
    """transformers' network and processor as one thing that knows pictures, boxes, clicks and masks.

    Coordinates are (x, y) = (column, row), in voxels of the slice.
    """

    def __init__(self, network: Any, processor: Any) -> None:  # noqa: ANN401
        self.network, self.processor = network, processor

    def to(self, device: str) -> _SamNetwork:
        """Move the network."""
        self.network.to(device)
        return self

    def embedding(self, picture: np.ndarray, device: str) -> Any:  # noqa: ANN401
        """Features of a picture (rows, columns) of uint8: (1, C, h, w)."""
        import torch

        pixels = self.processor(np.repeat(picture[..., None], 3, axis=-1), return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            return self.network.get_image_embeddings(pixels.to(device))

    def answer(
        self,
        embedding: Any,  # noqa: ANN401
        shape: tuple[int, int],
        device: str,
        *,
        box: tuple[int, int, int, int] | None = None,
        point: tuple[int, int] | None = None,
        mask: np.ndarray | None = None,
    ) -> np.ndarray:
        """Probability on the slice, float32 of `shape`."""
        import torch

        inputs = self._inputs(shape, box, point)
        prompts = {
            key: inputs[key].to(device) for key in ("input_boxes", "input_points", "input_labels") if key in inputs
        }
        if mask is not None:
            prompts["input_masks"] = self._low(mask, inputs["reshaped_input_sizes"][0]).to(device)
        with torch.inference_mode():
            # A click is ambiguous: of three proposals SAM itself says which is best.
            found = self.network(image_embeddings=embedding, multimask_output=point is not None, **prompts)
            best = int(found.iou_scores[0, 0].argmax())
            logits = self.processor.post_process_masks(
                found.pred_masks[:, :, best : best + 1].float().cpu(),
                inputs["original_sizes"],
                inputs["reshaped_input_sizes"],
                binarize=False,
            )[0]
        return logits[0, 0].sigmoid().numpy().astype(np.float32)

    def _inputs(self, shape: tuple[int, int], box: Any, point: Any) -> Any:  # noqa: ANN401
        """What the processor makes of the coordinates; the picture does not matter here, its size does."""
        told: dict[str, Any] = {}
        if box is not None:
            told["input_boxes"] = [[list(edges_of(box))]]
        if point is not None:
            told |= {"input_points": [[[list(centre_at(point))]]], "input_labels": [[[1]]]}
        return self.processor(np.zeros((*shape, 3), np.uint8), return_tensors="pt", **told)

    def _low(self, mask: np.ndarray, reshaped: Any) -> Any:  # noqa: ANN401
        """A mask as the low-resolution logits that SAM takes: resized as the picture is, padded to the square."""
        import torch
        from torch.nn.functional import interpolate, pad

        config = self.network.config.vision_config
        low = 4 * (config.image_size // config.patch_size)
        height, width = (max(1, round(int(n) * low / config.image_size)) for n in reshaped)
        full = torch.from_numpy(mask.astype(np.float32))[None, None]
        small = interpolate(full, size=(height, width), mode="area")
        return pad(SURE * (2.0 * small - 1.0), (0, low - width, 0, low - height), value=-SURE)
