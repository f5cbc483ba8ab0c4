"""Large displacements: every voxel of a level looks around, and neighbours come to terms.

An organ that lies beside its counterpart draws no gradient. Here each voxel compares its surroundings (`mind`) with
those at all displacements of a cube; choosing the cheapest and smoothing the choice alternate, the choice being held
ever nearer to its smooth version (Heinrich, Papiez, Schnabel, Handels, "Non-parametric discrete registration with
convex optimisation", WBIR 2014, Eq. 3 and 4; Siebert et al., "ConvexAdam", TMI 44, 2025). Both directions are
searched and reconciled. A look at larger voxels goes first, which reaches farther and costs little. What comes out is
a start for the deformable steps of a level (docs/decisions/0002-registration.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as nnf

from atlassegfm.registration import chains, discrete_kernels, kernels
from atlassegfm.registration.discrete_kernels import FINENESS
from atlassegfm.registration.grids import box_sum
from atlassegfm.registration.knobs import DeformableSettings
from atlassegfm.registration.level import Level, upsampled
from atlassegfm.registration.mind import mind_ssc
from atlassegfm.registration.operators import Operators, compose, window
from atlassegfm.volume import Volume

#: No look reaches farther than this part of the middle edge.
REACH_PART = 0.15
#: Weight of the squared distance (voxels) between choice and smooth version, round by round. The first only decides
#: between equal costs: where nothing speaks for a displacement there is none.
WEIGHTS = (1e-6, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3)
#: Gaussian width that smooths the choice, in voxels.
SMOOTHING = 1.5
#: Rounds in which there and back are made each other's inverse.
ROUNDS = 15

Pair = tuple[Volume, Volume]
Look = tuple[int, int]


class DiscreteSearch:
    """Both images at two resolutions, ready to be searched under any matrix.

    Parameters
    ----------
    coarse : (Volume, Volume)
        Fixed and moving working copy of the level that displacements are wanted on.
    fine : (Volume, Volume)
        The copies that features are taken from: finer ones, the same, or where these are large, coarser ones.
    device : torch.device
        Where to compute.
    looks : sequence of (int, int)
        See `DeformableSettings`.
    most : int
        A look at more voxels than this is left out: with a reach of two they take half a kilobyte each.
    features : torch.Tensor, optional
        Those of the fine fixed image (`mind_ssc`), where they are known already.
    """

    def __init__(
        self,
        coarse: Pair,
        fine: Pair,
        device: torch.device,
        looks: Sequence[Look] = DeformableSettings.looks,
        most: int = DeformableSettings.looked,
        features: torch.Tensor | None = None,
    ) -> None:
        self._fine, self._device, self._grid = fine, device, coarse[0].grid
        self._looks = [look for look in looks if self._grid.size <= most * look[0] ** 3]
        #: Of the last look, the finest: features are kept on no more voxels than are looked at.
        self._shape = self._shrunk(self._looks[-1][0]) if self._looks else (1, 1, 1)
        known = mind_ssc(torch.as_tensor(fine[0].data, device=device)) if features is None else features
        self._fixed = _pooled(known, self._shape)

    def _shrunk(self, shrink: int) -> tuple[int, ...]:
        """Shape of the level when so many voxels along an axis become one."""
        return tuple(-(-n // shrink) for n in self._grid.shape)

    def displacement(self, matrix: np.ndarray, known: torch.Tensor | None = None) -> torch.Tensor:
        """Displacement in voxels of the coarse fixed image, to be followed by `matrix`.

        Parameters
        ----------
        matrix : numpy.ndarray, shape (4, 4)
            Fixed to moving world points, RAS+ mm.
        known : torch.Tensor, shape (3, I, J, K), optional
            A displacement to go on from; none if None.
        """
        level = Level(*self._fine, matrix, self._device)
        u = level.start if known is None else upsampled(level.ops, known, self._grid, self._fine[0].grid)
        image, seen = level.warped(u)
        moving, seen = (_pooled(x, self._shape) for x in (mind_ssc(image), seen[None]))
        found = torch.zeros(3, *self._grid.shape, device=self._device) if known is None else known
        for number, (shrink, reach) in enumerate(self._looks):
            one = self._look(level.ops, moving, seen, shrink, reach)
            found = compose(level.ops, found, one)
            if number + 1 < len(self._looks):
                # What the next look sees, without taking the features anew.
                moving, inside = level.ops.warp(moving, np.eye(4), one)
                seen = level.ops.warp(seen, np.eye(4), one)[0] * inside
        return found

    def _look(self, ops: Operators, moving: torch.Tensor, seen: torch.Tensor, shrink: int, reach: int) -> torch.Tensor:
        """The displacement (3, I, J, K) that one look finds, in voxels of the level."""
        small = self._shrunk(shrink)
        fixed, moving, seen = (_pooled(x, small) for x in (self._fixed, moving, seen))
        reach = int(np.clip(round(REACH_PART * float(np.median(small))), 1, reach))
        there = _search(ops, fixed, moving, seen[0], reach)
        back = _search(ops, moving, fixed, torch.ones_like(seen[0]), reach)
        found = ops.reconciled(there, back, ROUNDS) * seen
        if shrink == 1:
            return found
        ratio = (torch.tensor(self._grid.shape) / torch.tensor(small)).to(found).view(3, 1, 1, 1)
        return nnf.interpolate(found[None], size=self._grid.shape, mode="trilinear")[0] * ratio


def _pooled(x: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Means of (C, ...) over the voxels of a coarser grid of the same field of view."""
    if tuple(x.shape[1:]) == tuple(shape):
        return x
    return nnf.interpolate(x[None], size=tuple(shape), mode="area")[0].contiguous()


def _search(ops: Operators, fixed: torch.Tensor, moving: torch.Tensor, seen: torch.Tensor, reach: int) -> torch.Tensor:
    """The choice (3, I, J, K) for one direction, after all rounds."""
    # With the longest axis last, because the innermost loops run along it.
    order = [0, 1, 2]
    longest = int(np.argmax(fixed.shape[1:]))
    order[longest], order[2] = 2, longest
    turn = (0, *(1 + axis for axis in order))
    fixed, moving, seen = fixed.permute(turn), moving.permute(turn), seen.permute(order)
    costs = match_costs(fixed, moving, seen, reach)
    u = _settled(ops, costs, torch.zeros(3, *seen.shape, device=fixed.device), reach)
    return u[order].permute(turn).contiguous()


def _settled(ops: Operators, costs: torch.Tensor, u: torch.Tensor, reach: int) -> torch.Tensor:
    """The choice after all rounds, the first of them being held to `u`, which is overwritten."""
    if costs.device.type == "cpu" and kernels.alone(costs.numel()):
        smoothing = window(u.shape[1:], SMOOTHING, inside=True)
        # Rounded once, as in `cheapest`: the number of threads must not show.
        weights = (FINENESS * np.array(WEIGHTS)).astype(np.float32)
        chains.settled(costs.numpy(), weights, reach, smoothing, u.numpy())
        return u
    for weight in WEIGHTS:
        u = ops.smooth_inside(cheapest(costs, u, weight, reach), SMOOTHING)
    return u


def match_costs(fixed: torch.Tensor, moving: torch.Tensor, seen: torch.Tensor, reach: int) -> torch.Tensor:
    """Mean squared difference of features at all displacements, averaged over each voxel's neighbourhood.

    Parameters
    ----------
    fixed, moving : torch.Tensor, shape (C, I, J, K)
        Features on one grid, in [0, 1].
    seen : torch.Tensor, shape (I, J, K)
        Where `moving` is known; elsewhere a displacement costs what the voxel's others do on average.
    reach : int
        Largest displacement along an axis, in voxels.

    Returns
    -------
    torch.Tensor, shape (I, J, (2 * reach + 1) ** 3, K)
        Costs times `FINENESS`, displacements in the order of the axes, the last fastest. On a CPU they are uint16:
        there are up to 343 for each voxel.
    """
    known = (seen > 0.5).float()
    if fixed.device.type != "cpu":
        return FINENESS * _averaged(_match_costs_torch(fixed, moving, known, reach))
    _, ni, nj, nk = fixed.shape
    costs = np.empty((ni, nj, (2 * reach + 1) ** 3, nk), np.uint16)
    arrays = [x.contiguous().numpy() for x in (fixed, *(nnf.pad(x, (reach, reach)) for x in (moving, known)))]
    kernels.run_slabs(discrete_kernels.match_costs, ni, costs.size, *arrays, reach, costs)
    for lines in (costs.reshape(1, ni, nj, -1), costs.reshape(ni, nj, 1, -1)):
        kernels.run_slabs(discrete_kernels.average_lines, lines.shape[0] * lines.shape[2], lines.size, lines)
    return torch.from_numpy(costs)


def cheapest(costs: torch.Tensor, near: torch.Tensor, weight: float, reach: int) -> torch.Tensor:
    """Per voxel the displacement (3, I, J, K) of least cost plus `weight` times its squared distance from `near`."""
    weight *= FINENESS
    if costs.device.type != "cpu":
        return _cheapest_torch(costs, near, weight, reach)
    out = np.empty(near.shape, np.float32)
    arrays = costs.numpy(), near.contiguous().numpy()
    kernels.run_slabs(discrete_kernels.cheapest, out.shape[1], costs.numel(), *arrays, np.float32(weight), reach, out)
    return torch.from_numpy(out)


def displacements(reach: int) -> torch.Tensor:
    """All displacements of the cube in the order of the costs, (D, 3)."""
    steps = torch.arange(-reach, reach + 1)
    return torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), dim=-1).reshape(-1, 3)


def _match_costs_torch(fixed: torch.Tensor, moving: torch.Tensor, known: torch.Tensor, reach: int) -> torch.Tensor:
    around, there = nnf.pad(moving, (reach,) * 6), nnf.pad(known, (reach,) * 6)
    costs, weights = [], []
    for step in (displacements(reach) + reach).tolist():
        part = tuple(slice(s, s + n) for s, n in zip(step, known.shape, strict=True))
        costs.append((fixed - around[(slice(None), *part)]).square().mean(dim=0))
        weights.append(there[part])
    costs, weights = torch.stack(costs, dim=2), torch.stack(weights, dim=2)
    usual = (costs * weights).sum(dim=2, keepdim=True) / weights.sum(dim=2, keepdim=True).clamp_min(1.0)
    return torch.where(weights > 0, costs, usual)


def _averaged(costs: torch.Tensor) -> torch.Tensor:
    """Mean over the neighbourhood of 3 voxels along each axis, cut at the border."""
    count = box_sum(torch.ones_like(costs[:, :, 0])[None], 1)
    return (box_sum(costs.movedim(2, 0), 1) / count).movedim(0, 2)


def _cheapest_torch(costs: torch.Tensor, near: torch.Tensor, weight: float, reach: int) -> torch.Tensor:
    steps = displacements(reach).to(near)
    flat, wanted = costs.movedim(2, -1).reshape(-1, costs.shape[2]), near.reshape(3, -1).T
    best = torch.cat(
        [
            steps[(part + weight * torch.cdist(at, steps).square()).argmin(dim=1)]
            for part, at in zip(flat.split(2**14), wanted.split(2**14), strict=True)
        ]
    )
    return best.T.reshape(near.shape)
