"""VISTA3D (He et al., CVPR 2025), its interactive branch: points, as a class it was not trained on (zero-shot).

Network and inference by windows around the points are MONAI's.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import edt
import numpy as np

from atlassegfm.errors import ModelError
from atlassegfm.models.foundation import shrunk
from atlassegfm.models.info import ModelInfo, Weights
from atlassegfm.models.resampled import ResampledModel
from atlassegfm.options import check_bounds
from atlassegfm.prompts import Point, Prompt, largest_component

#: Of the published bundle's configuration: voxel edge in mm, window, HU that become 0 and 1.
SPACING_MM, ROI = 1.5, 128
HU_BOUNDS = (-963.8247715525971, 1053.678477684517)
#: The point branch takes any class above the 132 trained ones as new.
NEW_CLASS = 133
#: Clicks that stand for a mask; each costs a window.
CLICKS = 3


@dataclass(frozen=True)
class Options:
    """Options of VISTA3D.

    Parameters
    ----------
    roi : int
        Edge of the windows in voxels of 1.5 mm; smaller ones need less memory.
    """

    roi: int = ROI

    def __post_init__(self) -> None:
        check_bounds(self, {"roi": (self.roi >= 32 and self.roi % 32 == 0, "a multiple of 32")})


INFO = ModelInfo(
    name="vista3d",
    summary="VISTA3D: interactive CT model, clicks on any structure",
    dimension="3D",
    prompts=("click", "mask"),
    licence="Apache-2.0",
    target="atlassegfm.models.catalogue.vista3d:Vista3D",
    modalities=("CT",),
    intensity="-964 to 1054 HU to 0 to 1",
    spacing="1.5 mm, axes right-anterior-superior",
    weights=Weights(
        licence="NVIDIA non-commercial licence",
        main="vista3d/models/model.pt",
        about_mb=872,
        bundle="vista3d",
        commercial=False,
    ),
    extra="monai",
    package="monai",
    options=Options,
    cpu_seconds=67.0,
)


class Vista3D(ResampledModel):
    """One window for each click."""

    info = INFO
    scales = (1.0, 0.75, 0.5)
    spacing_mm = SPACING_MM

    def _scaled(self, data: np.ndarray) -> np.ndarray:
        low, high = HU_BOUNDS
        return np.clip((data - low) / (high - low), 0.0, 1.0)

    def _build(self) -> Any:  # noqa: ANN401
        from monai.networks.nets.vista3d import vista3d132

        from atlassegfm.models.checkpoint import load_checkpoint, load_into

        content = load_checkpoint(self.weights.path, self.weights)
        # MONAI saves a network alone or under a name beside the optimiser.
        state = content["model"] if isinstance(content, dict) and "model" in content else content
        try:
            width = state["point_head.zeroshot_embed.weight"].shape[1]
        except (KeyError, TypeError, AttributeError) as error:
            raise ModelError(
                f"{self.weights.path}: expected weights of VISTA3D, got something else ({error})"
            ) from error
        network = vista3d132(encoder_embed_dim=width, in_channels=1)
        load_into(network, state, self.weights, "VISTA3D (vista3d132)")
        return network.eval()

    def _seen(self, prompt: Prompt, coarse: np.ndarray, scale: float) -> np.ndarray:
        roi = shrunk(self.options.roi, scale, 32, least=32)
        return self._windows(self._clicks(prompt, self._claimed(coarse)), roi)

    def _clicks(self, prompt: Prompt, mask: np.ndarray) -> list[Point]:
        """Clicks on the resampled grid: the prompt's, or the centre of the mask and the voxels farthest from it."""
        chosen = [self._click(prompt, mask)]
        voxels = _core(mask) if prompt.kind == "mask" else np.empty((0, 3), int)
        distance = np.full(len(voxels), np.inf)
        while len(chosen) < min(CLICKS, len(voxels)):
            distance = np.minimum(distance, np.linalg.norm(voxels - np.array(chosen[-1]), axis=1))
            chosen.append(tuple(int(v) for v in voxels[int(distance.argmax())]))
        return chosen

    def _windows(self, clicks: list[Point], roi: int) -> np.ndarray:
        """Probability on the resampled grid; NaN where no window reaches."""
        import torch
        from monai.apps.vista3d.inferer import point_based_window_inferer

        network = self.network()
        with torch.inference_mode(), self._autocast(), warnings.catch_warnings():
            # The inferer overwrites a matrix that is not used here, and says so.
            warnings.filterwarnings("ignore", message="Setting affine")
            logits = point_based_window_inferer(
                inputs=torch.from_numpy(self._data)[None, None].to(self.device),
                roi_size=(roi,) * 3,
                predictor=network,
                point_coords=torch.tensor([clicks], device=self.device),
                point_labels=torch.ones((1, len(clicks)), dtype=torch.int64, device=self.device),
                prompt_class=torch.tensor([[NEW_CLASS]], device=self.device),
                transpose=True,
            )
        return torch.as_tensor(logits)[0, 0].float().sigmoid().numpy()


def _core(mask: np.ndarray) -> np.ndarray:
    """Voxel indices (n, 3) of the inner half of the mask's largest component, by distance to its border."""
    component, corner = largest_component(mask)
    depth = edt.edt(np.pad(component, 1), black_border=True)[1:-1, 1:-1, 1:-1]
    return np.argwhere(depth >= 0.5 * depth.max()) + np.array(corner)
