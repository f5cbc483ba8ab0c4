"""Deformable registration: greedy compositive updates along the gradient of the local normalised cross-correlation.

The map phi(x) = x + u(x) lives on the fixed grid; each step composes it with a smooth, small update v,
phi <- phi o (id + v), which keeps it invertible as long as |v| stays below a voxel (Yushkevich et al., "Fast automatic
segmentation of hippocampal subfields ... (greedy)", Alzheimer's & Dementia 12 (2016); Avants et al., "Symmetric
diffeomorphic image registration with cross-correlation", MedIA 12 (2008)). The gradient is analytic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from atlassegfm.registration.grids import (
    apply_matrix,
    box_sum,
    gradient,
    identity,
    inside,
    sample,
    smooth,
    smooth_inside,
    voxel_map,
)
from atlassegfm.registration.transform import Displacement
from atlassegfm.volume import Grid, Volume

#: A step that lowers the LNCC shortens the next ones by this factor, down to this part of the first.
STEP_SHRINK = 0.7
SHORTEST_STEP = 0.2


@dataclass(frozen=True)
class DeformableSettings:
    """Knobs of the deformable step; lengths in voxels of the level.

    Parameters
    ----------
    factors, iterations : tuple of int
        Per level: size of its voxels in working voxels, and the most steps taken there.
    radius : int
        Half width of the correlation window.
    step : float
        Longest update vector of a step.
    smooth_update, smooth_field : float
        Gaussian standard deviations applied to the update and to the whole displacement.
    noise : float
        Variance added to both windows' variances (intensities in [0, 1]): flat windows say nothing.
    """

    factors: tuple[int, ...] = (4, 2, 1)
    iterations: tuple[int, ...] = (100, 60, 20)
    radius: int = 2
    step: float = 1.0
    smooth_update: float = 2.0
    smooth_field: float = 0.5
    noise: float = 1e-5


def lncc_and_gradient(
    f: torch.Tensor, m: torch.Tensor, mask: torch.Tensor, radius: int, noise: float
) -> tuple[float, torch.Tensor]:
    """Mean squared local correlation over the mask and its exact gradient by the moving values.

    Parameters
    ----------
    f, m, mask : torch.Tensor, shape (I, J, K)
        Fixed image, warped moving image, and 1 where both are known.
    radius : int
        The window is 2 * radius + 1 voxels wide.
    noise : float
        Added to both variances.

    Returns
    -------
    tuple
        LNCC in [0, 1] and d(sum of cc) / dm, shape (I, J, K).

    Notes
    -----
    Per window with weights w: cc = A^2 / (B C), A = cov(f, m), B = var(f) + noise, C = var(m) + noise. A voxel y
    contributes to all windows that hold it, so d/dm(y) = w(y) * box[ 2 A / (B C n) * ((f(y) - mean f)
    - A / C * (m(y) - mean m)) ], which expands into four more box sums.
    """
    fm, mm = f * mask, m * mask
    sums = box_sum(torch.stack([mask, fm, mm, fm * f, mm * m, fm * m]), radius)
    n = sums[0].clamp_min(1.0)
    mean_f, mean_m = sums[1] / n, sums[2] / n
    var_f = (sums[3] / n - mean_f * mean_f).clamp_min_(0.0).add_(noise)
    var_m = (sums[4] / n - mean_m * mean_m).clamp_min_(0.0).add_(noise)
    cov = sums[5] / n - mean_f * mean_m
    ratio = cov / var_m
    cc = cov * ratio / var_f
    value = float((cc * mask).sum() / mask.sum().clamp_min(1.0))
    a = 2.0 * ratio / var_f / n * mask
    b = a * ratio
    back = box_sum(torch.stack([a, b, b * mean_m - a * mean_f]), radius)
    return value, mask * (f * back[0] - m * back[1] + back[2])


def _compose(u: torch.Tensor, v: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Displacement of (id + u) o (id + v)."""
    return v + sample(u, grid + v)


def _upsample(u: torch.Tensor, coarse: Grid, fine: Grid) -> torch.Tensor:
    """Displacement in voxels of `coarse` to voxels of `fine` (same axes, same field of view)."""
    coords = apply_matrix(voxel_map(fine, coarse), identity(fine.shape, u.device))
    ratio = torch.as_tensor(coarse.spacing / fine.spacing, dtype=torch.float32, device=u.device)
    return sample(u, coords) * ratio.view(3, 1, 1, 1)


class _Level:
    """Both images at one resolution and the loop over updates there."""

    def __init__(self, fixed: Volume, moving: Volume, matrix: np.ndarray, device: torch.device) -> None:
        self.f = torch.as_tensor(fixed.data, device=device)
        self.m = torch.as_tensor(moving.data, device=device)
        self.to_moving = voxel_map(fixed.grid, moving.grid, matrix)
        self.grid = identity(fixed.grid.shape, device)

    def warped(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        coords = apply_matrix(self.to_moving, self.grid + u)
        return sample(self.m[None], coords)[0], inside(coords, self.m.shape)

    def run(self, u: torch.Tensor, iterations: int, settings: DeformableSettings) -> tuple[torch.Tensor, list[float]]:
        """Steps from `u`; returns the best displacement met and the LNCC before each step.

        A step that loses is followed by shorter ones, down to a fraction of the first.
        """
        history: list[float] = []
        best, best_value, step = u, -1.0, settings.step
        for _ in range(iterations):
            m, mask = self.warped(u)
            value, slope = lncc_and_gradient(self.f, m, mask, settings.radius, settings.noise)
            history.append(value)
            if value > best_value:
                best, best_value = u, value
            else:
                step *= STEP_SHRINK
                if step < SHORTEST_STEP * settings.step:
                    break
            if _converged(history):
                break
            update = smooth(gradient(m) * slope, settings.smooth_update)
            longest = float(update.square().sum(dim=0).max().sqrt())
            if longest < 1e-12:
                break
            u = _compose(u, update * (step / longest), self.grid)
            u = smooth_inside(u, settings.smooth_field)
        return best, history


def _converged(history: list[float], window: int = 10, slope: float = 1e-4) -> bool:
    """Whether the last `window` steps gained less than `slope` per step on average."""
    if len(history) <= window:
        return False
    return (history[-1] - history[-1 - window]) / window < slope * max(history[-1], 1e-3)


#: Candidates are compared by LNCC * overlap**CANDIDATE_OVERLAP_POWER - CANDIDATE_BENDING * mean squared gradient of u.
CANDIDATE_OVERLAP_POWER = 0.1
CANDIDATE_BENDING = 0.3


@dataclass(frozen=True)
class Candidate:
    """One affine start taken through the coarsest deformable level."""

    matrix: np.ndarray
    score: float
    displacement: torch.Tensor
    history: list[float]


def try_candidates(
    fixed: Volume,
    moving: Volume,
    matrices: Sequence[np.ndarray],
    settings: DeformableSettings,
    device: torch.device,
) -> list[Candidate]:
    """Take each affine candidate through the coarsest level, best first.

    How well organs can be brought to match, and how far they had to be bent for it, tells more about a start than how
    well it matches before (docs/decisions/0002-registration.md).

    Parameters
    ----------
    fixed, moving : Volume
        Coarsest working copies scaled to [0, 1].
    matrices : sequence of numpy.ndarray, shape (4, 4)
        Fixed to moving world points, RAS+ mm.
    settings : DeformableSettings
        Its first number of iterations is used.
    device : torch.device
        Where to compute.
    """
    smaller = min(np.prod(fixed.grid.extent_mm), np.prod(moving.grid.extent_mm))
    out = []
    for matrix in matrices:
        level = _Level(fixed, moving, matrix, device)
        u, history = level.run(torch.zeros_like(level.grid), settings.iterations[0], settings)
        seen = float(level.warped(u)[1].mean()) * float(np.prod(fixed.grid.extent_mm) / smaller)
        bending = float(sum(gradient(part).square().sum(dim=0).mean() for part in u))
        score = max(history) * min(1.0, seen) ** CANDIDATE_OVERLAP_POWER - CANDIDATE_BENDING * bending
        out.append(Candidate(matrix, score, u, history))
    return sorted(out, key=lambda c: -c.score)


def register_deformable(
    levels: Sequence[tuple[Volume, Volume]],
    start: Candidate,
    settings: DeformableSettings,
    device: torch.device,
    tick: Callable[[float], None] = lambda fraction: None,
) -> tuple[Displacement, list[list[float]]]:
    """Displacement on the finest fixed grid that, followed by the start's matrix, maps fixed to moving world points.

    Parameters
    ----------
    levels : sequence of (fixed, moving)
        Working copies scaled to [0, 1], coarse to fine, one per entry of ``settings.factors``.
    start : Candidate
        From `try_candidates` on the first of the levels.
    settings : DeformableSettings
        Iterations and smoothness.
    device : torch.device
        Where to compute.
    tick : callable
        Told the finished fraction after each level.

    Returns
    -------
    tuple
        The displacement in RAS+ mm, and the LNCC per step of each level.
    """
    u, last = start.displacement, levels[0][0].grid
    history = [start.history]
    for number, ((fixed, moving), iterations) in enumerate(zip(levels[1:], settings.iterations[1:], strict=True)):
        level = _Level(fixed, moving, start.matrix, device)
        u, values = level.run(_upsample(u, last, fixed.grid), iterations, settings)
        history.append(values)
        last = fixed.grid
        tick((number + 1) / max(1, len(levels) - 1))
    vectors = np.moveaxis(u.cpu().numpy(), 0, -1) @ last.affine[:3, :3].T.astype(np.float32)
    return Displacement(last, np.ascontiguousarray(vectors, dtype=np.float32)), history
