"""One resolution level of the deformable registration: greedy compositive steps along the gradient of the LNCC.

The map phi(x) = x + u(x) lives on the fixed grid; each step composes it with a smooth, small update v,
phi <- phi o (id + v), which keeps it invertible as long as |v| stays below a voxel (Yushkevich et al., "Fast automatic
segmentation of hippocampal subfields ... (greedy)", Alzheimer's & Dementia 12 (2016); Avants et al., "Symmetric
diffeomorphic image registration with cross-correlation", MedIA 12 (2008)). The gradient is analytic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from atlassegfm.registration.grids import lengths, voxel_map
from atlassegfm.registration.operators import Operators, inverse, operators
from atlassegfm.runtime import side_by_side
from atlassegfm.volume import Grid, Volume

#: A step that lowers the LNCC shortens the next ones by this factor, down to this part of the first.
STEP_SHRINK = 0.7
SHORTEST_STEP = 0.2

#: Where the inverse of the backward displacement misses by more voxels than this it is not used; width of the passage.
MAX_MISS = 0.25
BLEND_SIGMA = 2.0

#: Noise of edges as part of that of intensities: the square of what steep ones have per voxel.
EDGE_NOISE = 0.04

#: A displacement to the moved image (I, J, K) under it and the mask of the voxels where it is known.
Warp = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]


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
    edges : tuple of float
        Per level: what the correlation of the images' edges counts, from 0 (that of the intensities alone) to 1.
    looks : tuple of (int, int)
        Of the discrete search, one after the other: how many voxels of the level become one along an axis, and the
        largest displacement along an axis in those.
    looked : int
        A look of the discrete search at more voxels than this is left out.
    both_ways : int
        So many levels, the coarsest first and the finest never, are registered there and back.
    """

    factors: tuple[int, ...] = (4, 2, 1)
    iterations: tuple[int, ...] = (100, 60, 20)
    radius: int = 2
    step: float = 1.0
    smooth_update: float = 2.0
    smooth_field: float = 0.5
    noise: float = 1e-5
    edges: tuple[float, ...] = (0.0, 0.0, 0.0)
    looks: tuple[tuple[int, int], ...] = ((2, 3), (1, 2))
    looked: int = 1_000_000
    both_ways: int = 2

    def of(self, levels: Sequence[int]) -> DeformableSettings:
        """The same for these of the levels."""
        per_level = ("factors", "iterations", "edges")
        return replace(self, **{name: tuple(getattr(self, name)[n] for n in levels) for name in per_level})


@dataclass(frozen=True)
class Descent:
    """A displacement (3, I, J, K) in voxels of the level, and the LNCC before each step on the way to it."""

    displacement: torch.Tensor
    history: list[float]


@dataclass(frozen=True)
class TwoWays:
    """The forward descent, the inverse of the backward displacement, and the mean of the two.

    Where the images have no common anatomy both err, in different ways: their mean errs less
    (docs/decisions/0002-registration.md), and how far they lie apart tells how well the images fit together.
    """

    there: Descent
    back: torch.Tensor
    mean: torch.Tensor

    @property
    def distance(self) -> torch.Tensor:
        """How far both lie apart, in voxels, shape (I, J, K)."""
        return lengths(self.there.displacement - self.back)


class Level:
    """Both images at one resolution under an affine matrix (fixed to moving world points, RAS+ mm).

    `edges`: what the correlation of the images' edges counts in the steps, as in `DeformableSettings`.
    """

    def __init__(
        self, fixed: Volume, moving: Volume, matrix: np.ndarray, device: torch.device, edges: float = 0.0
    ) -> None:
        self.ops, self.edges = operators(device), edges
        self.f = torch.as_tensor(fixed.data, device=device)
        self.m = torch.as_tensor(moving.data, device=device)
        self.to_moving = voxel_map(fixed.grid, moving.grid, matrix)

    @property
    def start(self) -> torch.Tensor:
        """No displacement."""
        return torch.zeros(3, *self.f.shape, device=self.f.device)

    def warped(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The moving image where matrix and `u` take it, and where it is known."""
        values, seen = self.ops.warp(self.m[None], self.to_moving, u)
        return values[0], seen

    def lncc(self, m: torch.Tensor, seen: torch.Tensor, settings: DeformableSettings) -> float:
        """How well a warped moving image (see `warped`) agrees with the fixed one."""
        return self.ops.force(self.f, m, seen, settings.radius, settings.noise)[0]

    def forward(self, u: torch.Tensor, iterations: int, settings: DeformableSettings) -> Descent:
        """Steps from `u` that bring the moving image onto the fixed one."""
        return self._descend(self.f, self.warped, u, iterations, settings)

    def both_ways(self, u: torch.Tensor, iterations: int, settings: DeformableSettings) -> TwoWays:
        """Descents from `u` there and, with the images' roles exchanged, back."""
        ways = self.forward, self._backward
        there, (back, missed) = side_by_side(lambda way: way(u, iterations, settings), ways)
        return TwoWays(there, back, self._mean(there.displacement, back, missed))

    def _backward(
        self, u: torch.Tensor, iterations: int, settings: DeformableSettings
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Inverse of what brings the fixed image onto the moving one, from `u`'s inverse on; and its `inverse` miss."""
        target, known = self.warped(self.start)

        def moved(v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            values, seen = self.ops.warp(self.f[None], np.eye(4), v)
            return values[0], seen * known

        back = self._descend(target, moved, inverse(self.ops, u)[0], iterations, settings)
        return inverse(self.ops, back.displacement)

    def _mean(self, there: torch.Tensor, back: torch.Tensor, missed: torch.Tensor) -> torch.Tensor:
        """Mean of both; `there` alone, with a smooth passage, where the inversion `missed` or would fold."""
        fails = (missed > MAX_MISS).float()
        weight = 0.5 * (1.0 - self.ops.smooth_inside(fails[None], BLEND_SIGMA).mul_(3.0).clamp_max_(1.0))
        return there + weight * (back - there)

    def _descend(
        self, target: torch.Tensor, warp: Warp, u: torch.Tensor, iterations: int, settings: DeformableSettings
    ) -> Descent:
        """Steps from `u`; ends with the best displacement met.

        A step that loses is followed by shorter ones, down to a fraction of the first.
        """
        history: list[float] = []
        best, best_value, step = u, -1.0, settings.step
        marks = self.ops.edges(target) if self.edges else None
        for _ in range(iterations):
            m, mask = warp(u)
            value, force = self._force((target, marks), m, mask, settings)
            history.append(value)
            if value > best_value:
                best, best_value = u, value
            else:
                step *= STEP_SHRINK
                if step < SHORTEST_STEP * settings.step:
                    break
            if _converged(history):
                break
            u = self.ops.step(u, force, step, settings.smooth_update, settings.smooth_field)
            if u is None:
                break
        return Descent(best, history)

    def _force(
        self,
        targets: tuple[torch.Tensor, torch.Tensor | None],
        m: torch.Tensor,
        mask: torch.Tensor,
        settings: DeformableSettings,
    ) -> tuple[float, torch.Tensor]:
        """LNCC with the target and its gradient by the displacement; mixed with the same of both images' edges."""
        (target, marks), share = targets, self.edges
        if marks is None:
            return self.ops.force(target, m, mask, settings.radius, settings.noise)
        value, force = self.ops.force(marks, self.ops.edges(m), mask, settings.radius, EDGE_NOISE * settings.noise)
        if share < 1.0:
            plain, pull = self.ops.force(target, m, mask, settings.radius, settings.noise)
            value, force = share * value + (1.0 - share) * plain, force.mul_(share).add_(pull, alpha=1.0 - share)
        return value, force


def _converged(history: list[float], window: int = 10, slope: float = 1e-4) -> bool:
    """Whether the last `window` steps gained less than `slope` per step on average."""
    if len(history) <= window:
        return False
    return (history[-1] - history[-1 - window]) / window < slope * max(history[-1], 1e-3)


def upsampled(ops: Operators, u: torch.Tensor, coarse: Grid, fine: Grid) -> torch.Tensor:
    """Displacement in voxels of `coarse` to voxels of `fine` (same axes, same field of view)."""
    at = torch.zeros(3, *fine.shape, device=u.device)
    ratio = torch.as_tensor(coarse.spacing / fine.spacing, dtype=torch.float32, device=u.device)
    return ops.warp(u, voxel_map(fine, coarse), at)[0] * ratio.view(3, 1, 1, 1)
