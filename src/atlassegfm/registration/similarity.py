"""Similarities that a network is trained on: functions of the warped image, lower is better, with autograd.

Each is built once from the fixed image and the mask of voxels that count, both (I, J, K), and called with the warped
image. Intensities are scaled to [0, 1].
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from atlassegfm.registration.grids import box_sum

Loss = Callable[[torch.Tensor], torch.Tensor]

#: Half width of the correlation window in voxels: 9 voxels, as VoxelMorph has it.
NCC_RADIUS = 4
#: Added to both variances of a window: flat ones say nothing.
NCC_NOISE = 1e-5
MI_BINS = 32
#: Voxels drawn, at each call, for the joint histogram.
MI_SAMPLES = 100_000


def mean_squares(fixed: torch.Tensor, mask: torch.Tensor) -> Loss:
    """Mean squared difference over the mask."""
    count = mask.sum()
    return lambda warped: ((warped - fixed).square() * mask).sum() / count


def local_correlation(fixed: torch.Tensor, mask: torch.Tensor) -> Loss:
    """Minus the mean squared correlation of the windows around all voxels of the mask.

    Balakrishnan et al., "VoxelMorph", IEEE TMI 38 (2019), Eq. 6, with windows that stop at the border of the mask.
    """
    f = fixed * mask
    n, sum_f, sum_ff = box_sum(torch.stack([mask, f, f * f]), NCC_RADIUS)
    n = n.clamp_min(1.0)
    mean_f = sum_f / n
    var_f = (sum_ff / n - mean_f * mean_f).clamp_min(0.0) + NCC_NOISE
    count = mask.sum()

    def loss(warped: torch.Tensor) -> torch.Tensor:
        m = warped * mask
        sum_m, sum_mm, sum_fm = box_sum(torch.stack([m, m * m, f * m]), NCC_RADIUS)
        mean_m = sum_m / n
        var_m = (sum_mm / n - mean_m * mean_m).clamp_min(0.0) + NCC_NOISE
        cov = sum_fm / n - mean_f * mean_m
        return -(cov * cov / (var_f * var_m) * mask).sum() / count

    return loss


def mutual_information(fixed: torch.Tensor, mask: torch.Tensor) -> Loss:
    """Minus the mutual information in nats, from a joint histogram with linear Parzen windows.

    Mattes et al., "PET-CT image registration in the chest using free-form deformations", IEEE TMI 22 (2003); voxels are
    drawn anew at each call, from torch's global generator.
    """
    inside = torch.nonzero(mask.flatten() > 0)[:, 0]
    f = fixed.flatten()[inside]

    def loss(warped: torch.Tensor) -> torch.Tensor:
        chosen = torch.randint(len(f), (min(MI_SAMPLES, len(f)),), device=f.device)
        counts = _hats(f[chosen]) @ _hats(warped.flatten()[inside[chosen]]).T
        # By their own sum, which rounding takes a few millionths off the number of voxels drawn.
        joint = counts / counts.sum()
        rows, columns = joint.sum(dim=1, keepdim=True), joint.sum(dim=0, keepdim=True)
        tiny = torch.finfo(joint.dtype).tiny
        return -(joint * ((joint + tiny).log() - (rows * columns + tiny).log())).sum()

    return loss


def _hats(values: torch.Tensor) -> torch.Tensor:
    """Share of each value (n,) in the bins around it: (MI_BINS, n)."""
    centres = torch.arange(MI_BINS, dtype=values.dtype, device=values.device)[:, None]
    return (1.0 - (values.clamp(0.0, 1.0) * (MI_BINS - 1) - centres).abs()).clamp_min(0.0)


#: By the names of `options.NETWORK_SIMILARITIES`.
SIMILARITIES: dict[str, Callable[[torch.Tensor, torch.Tensor], Loss]] = {
    "mse": mean_squares,
    "ncc": local_correlation,
    "mi": mutual_information,
}
