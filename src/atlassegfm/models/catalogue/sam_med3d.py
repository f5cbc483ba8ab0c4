"""SAM-Med3D (Wang et al., 2023): 3D Segment Anything on a window of 128 voxels of 1.5 mm around the prior.

The network is the one of the authors' package medim; what leads to it follows their ``medim_infer.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from atlassegfm.errors import ModelError
from atlassegfm.models.info import ModelInfo, Weights
from atlassegfm.models.intensity import z_scores
from atlassegfm.models.preparation import Window
from atlassegfm.models.resampled import ResampledModel
from atlassegfm.prompts import Prompt

#: Voxel edge in mm and window in voxels of the training.
SPACING_MM, EDGE = 1.5, 128
#: Edge of the masks that are prompts and answers.
LOW = EDGE // 4
#: Logit of a voxel that M_atlas is sure of: the size of the answers that the model is fed in its own refinement.
SURE = 4.0

INFO = ModelInfo(
    name="sam-med3d",
    summary="SAM-Med3D: promptable 3D model for organs and lesions, one window of 19 cm around the prior",
    dimension="3D",
    prompts=("mask", "click"),
    licence="Apache-2.0",
    target="atlassegfm.models.catalogue.sam_med3d:SamMed3D",
    modalities=("CT", "MR", "US"),
    intensity="z-score over the voxels above 0 in the window",
    spacing="1.5 mm, axes right-anterior-superior, window of 128 voxels centred on the prior",
    weights=Weights(
        licence="Apache-2.0",
        main="sam_med3d_turbo.pth",
        about_mb=402,
        repo="blueyo0/SAM-Med3D",
        files=("sam_med3d_turbo.pth",),
    ),
    extra="sam-med3d",
    package="medim",
    cpu_seconds=23.0,
)


class SamMed3D(ResampledModel):
    """One window per label: encoded, prompted, decoded."""

    info = INFO
    spacing_mm = SPACING_MM

    def _build(self) -> Any:  # noqa: ANN401
        from atlassegfm.models.checkpoint import load_checkpoint, load_into, state_of
        from atlassegfm.models.torchvision_ops import mend_torchvision

        mend_torchvision()
        import medim

        content = load_checkpoint(self.weights.path, self.weights)
        state = state_of(content, "model_state_dict", self.weights)
        network = medim.create_model("SAM-Med3D", **architecture(state, str(self.weights.path)))
        load_into(network, state, self.weights, "SAM-Med3D")
        return network.eval()

    def _seen(self, prompt: Prompt, coarse: np.ndarray, scale: float) -> np.ndarray:
        mask = self._claimed(coarse)
        window = Window.around(mask, (EDGE,) * 3)
        part = window.cut(self._data, fill=float(self._data.min()))
        click = window.point(self._click(prompt, mask))
        probability = self._decoded(z_scores(part, part > 0), window.cut(coarse), click, prompt)
        return window.paste(probability, np.full(coarse.shape, np.nan, dtype=np.float32))

    def _decoded(self, image: np.ndarray, coarse: np.ndarray, click: tuple[int, ...], prompt: Prompt) -> np.ndarray:
        """Probability on the window, from its z-scores, membership and click."""
        import torch
        from torch.nn.functional import interpolate

        network = self.network()
        pixels = torch.from_numpy(image)[None, None].to(self.device)
        points = torch.tensor([[click]], dtype=torch.float32, device=self.device)
        positive = torch.ones((1, 1), dtype=torch.int64, device=self.device)
        low = torch.zeros((1, 1, LOW, LOW, LOW), device=self.device)
        if prompt.kind == "mask":
            membership = torch.from_numpy(coarse)[None, None].to(self.device)
            low = SURE * (2.0 * interpolate(membership, size=(LOW,) * 3, mode="trilinear", align_corners=False) - 1.0)
        with torch.inference_mode(), self._autocast():
            sparse, dense = network.prompt_encoder(points=[points, positive], boxes=None, masks=low)
            logits, _ = network.mask_decoder(
                image_embeddings=network.image_encoder(pixels),
                image_pe=network.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
            )
            full = interpolate(logits.float(), size=(EDGE,) * 3, mode="trilinear", align_corners=False)
        return full[0, 0].sigmoid().cpu().numpy()


def architecture(state: Any, path: str) -> dict[str, Any]:  # noqa: ANN401
    """Arguments of medim's SAM-Med3D that fit a state dictionary."""
    try:
        embed = state["image_encoder.patch_embed.proj.weight"].shape[0]
        depth = len({k.split(".")[2] for k in state if k.startswith("image_encoder.blocks.")})
        reach = [tuple(state[f"image_encoder.blocks.{n}.attn.rel_pos_h"].shape) for n in range(depth)]
        prompt = state["prompt_encoder.no_mask_embed.weight"].shape[1]
    except (KeyError, AttributeError, IndexError) as error:
        raise ModelError(f"{path}: expected weights of SAM-Med3D, got something else ({error} is missing)") from error
    # Blocks with windows know relative positions up to 13, global ones up to 7: (2 n - 1) rows each.
    longest = 2 * (EDGE // 16) - 1
    return {
        "encoder_embed_dim": embed,
        "encoder_depth": depth,
        "encoder_num_heads": embed // reach[0][1],
        "encoder_global_attn_indexes": [n for n, (rows, _) in enumerate(reach) if rows == longest],
        "prompt_embed_dim": prompt,
    }
