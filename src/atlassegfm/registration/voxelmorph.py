"""The paper's deformable step: a U-Net whose weights are optimised for this one pair (arXiv 2512.18176, Eq. 2).

Cost (two idle cores, 32-bit floats): a step takes 0.7 s at 64^3 voxels, 5 s at 128^3 and 20 s at 160x192x224, so that
the paper's 1000 steps take 11 minutes, 1.5 hours and more than 5 hours; memory 0.8, 3.6 and 10 GB. bfloat16 halves the
time. Full resolution is for GPUs.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from atlassegfm.errors import RegistrationError
from atlassegfm.registration import builtin
from atlassegfm.registration.copies import scaled_copy
from atlassegfm.registration.grids import apply_matrix, identity, inside, sample, voxel_map
from atlassegfm.registration.measures import folding_percent
from atlassegfm.registration.options import NETWORK_SIMILARITIES, NetworkOptions
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.registration.similarity import SIMILARITIES
from atlassegfm.registration.transform import Affine, Displacement, Transform
from atlassegfm.registration.unet import FlowUNet, parameter_count
from atlassegfm.volume import Volume

#: Cube root of the number of voxels of the working copy, by kind of device.
WORKING_VOXELS = {"cpu": 64, "cuda": 160}
STEP = "network"


def voxelmorph(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """The paper's registration: rigid and affine from any start, then the network.

    Parameters
    ----------
    fixed, moving : Volume
        Images with raw intensities.
    settings : Settings
        Seed, device, progress; options as in `NetworkOptions`.

    Returns
    -------
    RegistrationResult
        Displacement on the working grid of `fixed`, followed by the affine matrix.

    Raises
    ------
    RegistrationError
        If no alignment was found, the images have nothing in common or the optimisation diverged.
    """
    return _register(fixed, moving, settings, builtin.affine(fixed, moving, settings))


def from_rigid(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """The network after a rigid alignment (the paper's Table 4); see `voxelmorph`."""
    return _register(fixed, moving, settings, builtin.rigid(fixed, moving, settings))


def from_headers(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """The network from the positions in the headers (the paper's Table 4); see `voxelmorph`."""
    return _register(fixed, moving, settings, builtin.identity(fixed, moving, settings))


def working_spacing(fixed: Volume, moving: Volume, options: NetworkOptions, device: str) -> float:
    """Voxel size in mm of the working copies; by default never finer than the finest native one."""
    if options.spacing_mm is not None:
        return options.spacing_mm
    voxels = options.voxels or WORKING_VOXELS[torch.device(device).type]
    finest = float(max(fixed.spacing.min(), moving.spacing.min()))
    return max(finest, float(np.prod(fixed.grid.extent_mm)) ** (1.0 / 3.0) / voxels)


def gradient_penalty(u: torch.Tensor) -> torch.Tensor:
    """Mean squared difference between neighbouring displacements (3, I, J, K), in voxels: the diffusion regulariser."""
    parts = [u.diff(dim=axis).square().mean() for axis in (1, 2, 3) if u.shape[axis] > 1]
    return sum(parts, torch.zeros((), device=u.device)) / 3.0


class _Pair:
    """Both images at the working resolution, aligned by a matrix."""

    def __init__(self, fixed: Volume, moving: Volume, matrix: np.ndarray, device: torch.device) -> None:
        self.fixed = torch.as_tensor(fixed.data, device=device)
        self.moving = torch.as_tensor(moving.data, device=device)
        self.to_moving = voxel_map(fixed.grid, moving.grid, matrix)
        self.positions = identity(fixed.grid.shape, device)
        # What the aligned atlas does not show can be matched with nothing. The mask does not move with the field, so
        # that nothing is gained by pushing poor matches out of view.
        self.mask = inside(apply_matrix(self.to_moving, self.positions), moving.grid.shape)
        if not bool(self.mask.any()):
            raise RegistrationError(
                "atlas and query have no voxel in common where the alignment places them; use the method voxelmorph"
            )

    def warped(self, u: torch.Tensor) -> torch.Tensor:
        """Moving image (I, J, K) under a displacement in voxels of the fixed working grid."""
        return sample(self.moving[None], apply_matrix(self.to_moving, self.positions + u))[0]

    def images(self) -> torch.Tensor:
        """The network's input, (1, 2, I, J, K): the aligned moving and the fixed image."""
        return torch.stack([self.warped(torch.zeros_like(self.positions)), self.fixed])[None]


@dataclass(frozen=True)
class _Found:
    """Displacement in voxels, and the similarity loss before each step and after the last."""

    displacement: torch.Tensor
    losses: list[float]
    parameters: int


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeded and, on a GPU, deterministic within the block; the states of everybody else stay as they are."""
    devices = [device] if device.type == "cuda" else []
    deterministic = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)
    with torch.random.fork_rng(devices), deterministic:
        torch.manual_seed(seed)
        yield


def _optimise(pair: _Pair, options: NetworkOptions, settings: Settings) -> _Found:
    """Adam on the weights of a fresh network."""
    device = torch.device(settings.device)
    layout = torch.channels_last_3d if options.channels_last else torch.contiguous_format
    weight = NETWORK_SIMILARITIES[options.similarity] if options.smoothness is None else options.smoothness
    with _seeded(settings.seed, device):
        network = FlowUNet(bfloat16=options.bfloat16).to(device, memory_format=layout)
        images = pair.images().contiguous(memory_format=layout)
        similarity = SIMILARITIES[options.similarity](pair.fixed, pair.mask)
        adam = torch.optim.Adam(network.parameters(), lr=options.learning_rate)
        losses: list[float] = []
        for number in range(options.iterations + 1):
            u = network(images)[0]
            loss, penalty = similarity(pair.warped(u)), gradient_penalty(u)
            losses.append(_finite(loss, penalty, number, options))
            if number == options.iterations:
                break
            settings.progress(STEP, number / options.iterations)
            adam.zero_grad()
            (loss + weight * penalty).backward()
            adam.step()
    settings.progress(STEP, 1.0)
    return _Found(u.detach(), losses, parameter_count(network))


def _finite(loss: torch.Tensor, penalty: torch.Tensor, step: int, options: NetworkOptions) -> float:
    """The similarity loss as a number; the penalty tells of a field that is lost where the images do not."""
    value = float(loss.detach())
    if not np.isfinite(value + float(penalty.detach())):
        raise RegistrationError(
            f"the network diverged at step {step} of {options.iterations}: "
            f"give a learning_rate below {options.learning_rate:g}"
        )
    return value


def _register(fixed: Volume, moving: Volume, settings: Settings, start: RegistrationResult) -> RegistrationResult:
    """The network from an alignment by a matrix."""
    began = time.perf_counter()
    options = NetworkOptions(**settings.options)
    spacing = working_spacing(fixed, moving, options, settings.device)
    still, image = (scaled_copy(volume, spacing) for volume in (fixed, moving))
    matrix = start.transform.matrix
    found = _optimise(_Pair(still, image, matrix, torch.device(settings.device)), options, settings)
    field = Displacement.of_voxels(still.grid, found.displacement.cpu().numpy())
    facts = start.metrics | {
        "matrix": matrix.tolist(),
        "working_spacing_mm": spacing,
        "working_shape": list(still.grid.shape),
        "learnable_parameters": found.parameters,
        "iterations": options.iterations,
        "similarity": options.similarity,
        "similarity_loss": [round(found.losses[0], 6), round(found.losses[-1], 6)],
        "folding_percent": folding_percent(field),
    }
    warnings = list(start.warnings)
    if not found.losses[-1] < found.losses[0]:
        warnings.append("the network made the images no more alike than the linear alignment had left them")
    seconds = start.seconds | {STEP: time.perf_counter() - began}
    return RegistrationResult(Transform((field, Affine(matrix))), facts, seconds, warnings)
