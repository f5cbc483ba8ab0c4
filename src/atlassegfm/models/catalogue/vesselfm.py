"""vesselFM (Wittmann et al., CVPR 2025): finds vessels by itself; its answer is gated to where the atlas expects one.

The network is MONAI's DynUNet; preparation and sliding window are those of the authors' inference script.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from atlassegfm.errors import ModelError
from atlassegfm.models.features import signed_distance
from atlassegfm.models.foundation import FoundationModel, shrunk
from atlassegfm.models.info import ModelInfo, Weights
from atlassegfm.models.preparation import Oriented
from atlassegfm.options import check_bounds
from atlassegfm.prompts import THRESHOLD, Prompt
from atlassegfm.volume import Volume, bounding_box

#: Edge of the sliding window in voxels, and the smallest that five halvings leave something of.
ROI, LEAST_ROI = 128, 64
#: Voxels seen around the neighbourhood of the prior, so that its border has surroundings.
CONTEXT = 16
#: Percentiles that become 0 and 1.
PERCENTILES = (1, 99)


@dataclass(frozen=True)
class Options:
    """Options of vesselFM.

    Parameters
    ----------
    reach_mm : float
        A vessel counts as the label's within this distance from M_atlas, in mm.
    roi : int
        Edge of the sliding window in voxels; smaller ones need less memory.
    """

    reach_mm: float = 10.0
    roi: int = ROI

    def __post_init__(self) -> None:
        check_bounds(
            self,
            {
                "reach_mm": (self.reach_mm >= 0, "0 mm or more"),
                "roi": (self.roi >= LEAST_ROI and self.roi % 32 == 0, f"a multiple of 32, {LEAST_ROI} or more"),
            },
        )


INFO = ModelInfo(
    name="vesselfm",
    summary="vesselFM: 3D vessels of any modality, automatic, gated to the surroundings of the atlas label",
    dimension="3D",
    prompts=("mask",),
    licence="Apache-2.0 (MONAI; the authors' own code, which is not used, is GPL-3.0)",
    target="atlassegfm.models.catalogue.vesselfm:VesselFM",
    modalities=("CTA", "MRA", "any with bright or dark vessels"),
    intensity="1st to 99th percentile of the image to 0 to 1",
    spacing="as it is; slices, rows, columns",
    weights=Weights(
        licence="Open RAIL++-M, non-commercial",
        main="vesselFM_base.pt",
        about_mb=126,
        repo="bwittmann/vesselFM",
        files=("vesselFM_base.pt", "meta.yaml"),
        commercial=False,
    ),
    extra="monai",
    package="monai",
    options=Options,
    cpu_seconds=18.0,
)


class VesselFM(FoundationModel):
    """One automatic answer per image, cut to the neighbourhood of each label."""

    info = INFO
    scales = (1.0, 0.75, 0.5)

    def _look(self, image: Volume) -> None:
        self._axes = Oriented(image.grid, "SPL")
        self._prepared: np.ndarray | None = None
        self._found: tuple[tuple[slice, ...], np.ndarray] | None = None

    def _passes(self, image: Volume, labels: int) -> float:
        return float(np.prod(np.maximum(1, np.ceil(np.array(image.grid.shape) / self.options.roi) * 2 - 1)))

    def _build(self) -> Any:  # noqa: ANN401
        from monai.networks.nets import DynUNet

        from atlassegfm.models.checkpoint import load_checkpoint, load_into

        state = load_checkpoint(self.weights.path, self.weights)
        network = DynUNet(**architecture(state, str(self.weights.path)))
        load_into(network, state, self.weights, "vesselFM (DynUNet)")
        return network.eval()

    def _answer(self, prompt: Prompt, scale: float) -> np.ndarray:
        prior = prompt.mask >= THRESHOLD
        near = signed_distance(prior, self.image.spacing) <= self.options.reach_mm
        box = self._neighbourhood(near | (prompt.rivals >= THRESHOLD))
        if self._found is None or any(
            got.start > want.start or got.stop < want.stop for got, want in zip(self._found[0], box, strict=True)
        ):
            self._found = box, self._vessels(box, scale)
        out = np.zeros(self._axes.grid.shape, dtype=np.float32)
        out[self._found[0]] = self._found[1]
        return self._axes.back(out) * near

    def _neighbourhood(self, region: np.ndarray) -> tuple[slice, ...]:
        margin = np.ceil(self.options.reach_mm / self._axes.grid.spacing).astype(int) + CONTEXT
        return bounding_box(self._axes.array(region), margin=margin)

    def _vessels(self, box: tuple[slice, ...], scale: float) -> np.ndarray:
        """Probability of a vessel within a box of the reordered image."""
        import torch
        from monai.inferers import SlidingWindowInfererAdapt
        from monai.transforms import ScaleIntensityRangePercentiles

        if self._prepared is None:
            scaled = ScaleIntensityRangePercentiles(*PERCENTILES, b_min=0, b_max=1, clip=True)
            data = self._axes.array(self.image.data.astype(np.float32))
            self._prepared = np.asarray(scaled(data[None])[0], dtype=np.float32)
        roi = shrunk(self.options.roi, scale, 32, LEAST_ROI)
        inferer = SlidingWindowInfererAdapt(
            roi_size=[roi] * 3, sw_batch_size=1, overlap=0.5, mode="constant", padding_mode="constant"
        )
        part = torch.from_numpy(np.ascontiguousarray(self._prepared[box]))[None, None].to(self.device)
        with torch.inference_mode(), self._autocast():
            return inferer(part, self.network())[0, 0].float().sigmoid().cpu().numpy()


def architecture(state: Any, path: str) -> dict[str, Any]:  # noqa: ANN401
    """Arguments of DynUNet that fit a state dictionary: numbers of filters are read from it."""
    try:
        first, last = state["input_block.conv1.conv.weight"], state["bottleneck.conv1.conv.weight"]
        depth = len({key.split(".")[1] for key in state if key.startswith("downsamples.")})
        between = [state[f"downsamples.{n}.conv1.conv.weight"].shape[0] for n in range(depth)]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ModelError(
            f"{path}: expected weights of vesselFM (MONAI's DynUNet), got something else ({error})"
        ) from error
    stages = depth + 2
    return {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 1,
        "kernel_size": [[3] * 3] * stages,
        "strides": [[1] * 3] + [[2] * 3] * (stages - 1),
        "upsample_kernel_size": [[2] * 3] * (stages - 1),
        "filters": [first.shape[0], *between, last.shape[0]],
        "res_block": True,
    }
