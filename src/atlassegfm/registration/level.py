"""One resolution level of the deformable registration: descents there and back, and the mean of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from atlassegfm.registration.descent import Descent, Moved, descend
from atlassegfm.registration.grids import lengths, voxel_map
from atlassegfm.registration.knobs import DeformableSettings
from atlassegfm.registration.operators import Operators, inverse, operators
from atlassegfm.runtime import side_by_side
from atlassegfm.volume import Grid, Volume

#: Where the inverse of the backward displacement misses by more voxels than this it is not used; width of the passage.
MAX_MISS = 0.25
BLEND_SIGMA = 2.0


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

    @property
    def moved(self) -> Moved:
        """The moving image under the matrix."""
        return Moved(self.m, self.to_moving)

    def warped(self, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The moving image where matrix and `u` take it, and where it is known."""
        return self.moved.under(self.ops, u)

    def lncc(self, m: torch.Tensor, seen: torch.Tensor, settings: DeformableSettings) -> float:
        """How well a warped moving image (see `warped`) agrees with the fixed one."""
        return self.ops.force(self.f, m, seen, settings.radius, settings.noise)[0]

    def forward(self, u: torch.Tensor, iterations: int, settings: DeformableSettings) -> Descent:
        """Steps from `u` that bring the moving image onto the fixed one."""
        return descend(self.ops, self.f, self.moved, u, iterations, settings, self.edges)

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
        begun = inverse(self.ops, u)[0]
        back = descend(self.ops, target, Moved(self.f, np.eye(4), known), begun, iterations, settings, self.edges)
        return inverse(self.ops, back.displacement)

    def _mean(self, there: torch.Tensor, back: torch.Tensor, missed: torch.Tensor) -> torch.Tensor:
        """Mean of both; `there` alone, with a smooth passage, where the inversion `missed` or would fold."""
        fails = (missed > MAX_MISS).float()
        weight = 0.5 * (1.0 - self.ops.smooth_inside(fails[None], BLEND_SIGMA).mul_(3.0).clamp_max_(1.0))
        return there + weight * (back - there)


def upsampled(ops: Operators, u: torch.Tensor, coarse: Grid, fine: Grid) -> torch.Tensor:
    """Displacement in voxels of `coarse` to voxels of `fine` (same axes, same field of view)."""
    at = torch.zeros(3, *fine.shape, device=u.device)
    ratio = torch.as_tensor(coarse.spacing / fine.spacing, dtype=torch.float32, device=u.device)
    return ops.warp(u, voxel_map(fine, coarse), at)[0] * ratio.view(3, 1, 1, 1)
