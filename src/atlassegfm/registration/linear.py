"""Rigid and affine registration: Gauss-Newton on the masked normalised cross-correlation.

With the intensities of the moving image fitted to the fixed ones by a gain and an offset, the squared residual equals
var(fixed) * (1 - NCC^2): minimising it over gain, offset and motion together (variable projection) maximises NCC and
needs no step sizes, no units and no autograd.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from atlassegfm.registration.grids import gradient, voxel_map, working_copy
from atlassegfm.registration.initialise import MIN_OVERLAP, OVERLAP_POWER, Start
from atlassegfm.registration.linear_kernels import COLUMNS, mean_residual, moments, normal_equations
from atlassegfm.registration.operators import CompiledOperators
from atlassegfm.registration.transform import Affine, about
from atlassegfm.runtime import side_by_side
from atlassegfm.volume import Grid, Volume

#: Residuals beyond this many robust standard deviations lose weight (Huber): other anatomy must not pull.
HUBER = 1.5
#: Singular values of the affine's linear part stay within these bounds: bodies differ by less.
SCALE_BOUNDS = (0.55, 1.8)
ITERATIONS = 25
#: The first rigid steps are taken on voxels larger by this factor.
RIGID_COARSER = 1.5
#: A step that gains less than this is the last one.
MIN_GAIN = 5e-5
MAX_DAMPING = 1e3
#: Surroundings of the second channel: Gaussian width in voxels of the level, and the variance that counts as flat.
LOCAL_SIGMA = 2.0
LOCAL_NOISE = 1e-3


@dataclass(frozen=True)
class Fit:
    """A linear alignment (fixed to moving world points) and its overlap-weighted NCC."""

    matrix: np.ndarray
    score: float


def channels(image: np.ndarray) -> np.ndarray:
    """What is compared: the intensity, and the intensity against its surroundings in units of their spread.

    The first tells tissues apart over the whole image, the second is blind to bias fields and contrast changes.
    """
    ops = CompiledOperators()
    x = torch.from_numpy(image)[None]
    away = x - ops.smooth_inside(x, LOCAL_SIGMA)
    spread = ops.smooth_inside(away.square(), LOCAL_SIGMA).add_(LOCAL_NOISE).sqrt_()
    return torch.cat([x, away / spread]).numpy()


@dataclass(frozen=True)
class Sampled:
    """The moving image under a matrix: channels (C, I, J, K) on the fixed grid, and the voxels where it is known."""

    to_moving: np.ndarray
    values: np.ndarray
    seen: np.ndarray
    sums: np.ndarray


class LinearProblem:
    """Both images at one resolution, ready to be scored and improved under any matrix. On the CPU: they are small."""

    def __init__(self, fixed: Volume, moving: Volume) -> None:
        self.fixed_grid: Grid = fixed.grid
        self.moving_grid: Grid = moving.grid
        self.f = channels(np.ascontiguousarray(fixed.data, dtype=np.float32))
        self.m = channels(np.ascontiguousarray(moving.data, dtype=np.float32))
        # Gradient per mm along the world axes: (I, J, K) differences times the inverse voxel-to-world matrix.
        per_voxel = np.linalg.inv(moving.affine[:3, :3]).T.astype(np.float32)
        self.slopes = [
            np.einsum("wv,v...->w...", per_voxel, gradient(torch.from_numpy(channel)).numpy()) for channel in self.m
        ]
        self._still = torch.zeros(3, *fixed.grid.shape)

    def sampled(self, matrix: np.ndarray) -> Sampled:
        """Moving values where `matrix` (fixed to moving world points) puts them."""
        to_moving = voxel_map(self.fixed_grid, self.moving_grid, matrix)
        values, seen = (x.numpy() for x in CompiledOperators().warp(torch.from_numpy(self.m), to_moving, self._still))
        return Sampled(to_moving, values, seen, moments(self.f, values, seen))

    def score(self, sampled: Sampled) -> float:
        """Mean NCC of the channels, times overlap**p; -1 where too little overlaps."""
        voxel_ratio = float(np.prod(self.fixed_grid.spacing) / np.prod(self.moving_grid.spacing))
        n, f, m, ff, mm, fm = sampled.sums.T
        overlap = n[0] / min(self.fixed_grid.size, self.moving_grid.size / voxel_ratio)
        if overlap < MIN_OVERLAP:
            return -1.0
        spread = np.maximum((ff - f * f / n) * (mm - m * m / n), 1e-12)
        return float(np.mean((fm - f * m / n) / np.sqrt(spread))) * min(1.0, overlap) ** OVERLAP_POWER


def _increment(step: np.ndarray, centre: np.ndarray, scale: float, dof: int) -> np.ndarray:
    """4x4 matrix of a motion step (rotation or linear part times `scale`, then mm) about `centre`."""
    if dof == 6:
        linear = Rotation.from_rotvec(step[:3] / scale).as_matrix()
    else:
        linear = np.eye(3) + step[:9].reshape(3, 3) / scale
    out = about(linear, centre)
    out[:3, 3] += step[-3:]
    return out


@dataclass(frozen=True)
class _System:
    """Normal equations of one Gauss-Newton step and the score where it starts."""

    normal: np.ndarray
    rhs: np.ndarray
    centre: np.ndarray
    scale: float
    score: float


#: A rotation vector (3) as a linear part (9): column c holds the derivative of ``R y`` by the c-th angle.
_ROTATION = np.zeros((9, 3))
for _a, _b, _c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    _ROTATION[3 * _b + _c, _a], _ROTATION[3 * _c + _b, _a] = -1.0, 1.0


def _channel_equations(
    problem: LinearProblem, sampled: Sampled, channel: int, to_point: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Contribution of one channel, (12, 12) and (12,): gain and offset are eliminated (Schur complement)."""
    n, f, m, ff, mm, fm = sampled.sums[channel]
    scale = 1.0 / max(np.sqrt(max(ff / n - (f / n) ** 2, 0.0)), 1e-3)
    gain = scale * (fm - f * m / n) / max(mm - m * m / n, 1e-6)
    numbers = [np.float32(x) for x in (scale, gain, (scale * f - gain * m) / n)]
    images = problem.f[channel], sampled.values[channel], sampled.seen
    limit = np.float32(HUBER * 1.25 * mean_residual(*images, *numbers))
    normal, rhs = np.zeros((COLUMNS, COLUMNS)), np.zeros(COLUMNS)
    to_moving = sampled.to_moving[:3].astype(np.float32)
    normal_equations(*images, problem.slopes[channel], to_moving, to_point, *numbers, limit, normal, rhs)
    nuisance = np.linalg.solve(normal[12:, 12:] + 1e-6 * np.eye(2), np.column_stack([normal[12:, :12], rhs[12:]]))
    reduced = np.column_stack([normal[:12, :12], rhs[:12]]) - normal[:12, 12:] @ nuisance
    return reduced[:, :12], reduced[:, 12]


def _system(problem: LinearProblem, matrix: np.ndarray, dof: int) -> _System | None:
    sampled = problem.sampled(matrix)
    score = problem.score(sampled)
    if score <= -1.0:
        return None
    # Moving points relative to the middle of the fixed image, in units of its size: rotations and shifts then weigh
    # alike.
    to_point = problem.moving_grid.affine @ sampled.to_moving
    centre = to_point[:3, :3] @ ((np.array(problem.fixed_grid.shape) - 1) / 2.0) + to_point[:3, 3]
    scale = max(1.0, float(np.linalg.norm(problem.fixed_grid.extent_mm)) / 4.0)
    to_point = (to_point[:3] - np.column_stack([np.zeros((3, 3)), centre])) / scale
    parts = [_channel_equations(problem, sampled, c, to_point.astype(np.float32)) for c in range(len(problem.f))]
    normal, rhs = sum(p[0] for p in parts), sum(p[1] for p in parts)
    if dof == 6:
        motion = np.block([[_ROTATION, np.zeros((9, 3))], [np.zeros((3, 3)), np.eye(3)]])
        normal, rhs = motion.T @ normal @ motion, motion.T @ rhs
    return _System(normal, rhs, centre, scale, score)


def _plausible(matrix: np.ndarray) -> bool:
    values = np.linalg.svd(matrix[:3, :3], compute_uv=False)
    return bool(values.min() >= SCALE_BOUNDS[0] and values.max() <= SCALE_BOUNDS[1])


def optimise(problem: LinearProblem, start: np.ndarray, dof: int, iterations: int = ITERATIONS) -> Fit:
    """Levenberg-Marquardt from `start`; never ends with a lower score than it began with.

    Parameters
    ----------
    problem : LinearProblem
        Images at one resolution.
    start : numpy.ndarray, shape (4, 4)
        Fixed to moving world points, RAS+ mm.
    dof : {6, 12}
        Rigid or affine.
    iterations : int
        Most steps tried.
    """
    matrix, damping = start, 1e-2
    system = _system(problem, matrix, dof)
    if system is None:
        return Fit(matrix, -1.0)
    for _ in range(iterations):
        diagonal = np.diag(np.diag(system.normal) + 1e-6)
        step = np.linalg.solve(system.normal + damping * diagonal, system.rhs)
        trial = _increment(step, system.centre, system.scale, dof) @ matrix
        attempt = _system(problem, trial, dof) if _plausible(trial) else None
        if attempt is not None and attempt.score > system.score:
            gained = attempt.score - system.score
            matrix, system, damping = trial, attempt, max(damping * 0.3, 1e-4)
            if gained < MIN_GAIN:
                break
        else:
            damping *= 8.0
            if damping > MAX_DAMPING:
                break
    return Fit(matrix, system.score)


def affine_candidates(fixed: Volume, moving: Volume, starts: Sequence[Start], *, dof: int = 12) -> list[Fit]:
    """Rigid, then (``dof=12``) affine registration from every start, best first, those that met left out.

    Parameters
    ----------
    fixed, moving : Volume
        Coarse working copies scaled to [0, 1].
    starts : sequence of Start
        From `initialise.StartSearch`.
    dof : {6, 12}
        Rigid or affine.
    """
    problem = LinearProblem(fixed, moving)
    coarse = LinearProblem(*(working_copy(image, RIGID_COARSER * float(image.spacing[0])) for image in (fixed, moving)))
    # The starts may hold a scale: a help on the way to an affine, but no part of a rigid motion.
    matrices = [s.matrix if dof == 12 else _rigid_part(s.matrix, fixed.grid.centre) for s in starts]
    fits = distinct(fixed.grid, side_by_side(lambda matrix: optimise(coarse, matrix, 6), matrices))
    fits = distinct(fixed.grid, side_by_side(lambda fit: optimise(problem, fit.matrix, dof), fits))
    return sorted(fits, key=lambda f: -f.score)


def distinct(grid: Grid, fits: Iterable[Fit]) -> list[Fit]:
    """Those that found an overlap and end more than a voxel from all before them at some corner of `grid`."""
    kept: list[Fit] = []
    for fit in fits:
        points = Affine(fit.matrix)(grid.corners)
        apart = [np.abs(points - Affine(other.matrix)(grid.corners)).max() for other in kept]
        if fit.score > -1.0 and all(distance > grid.spacing.max() for distance in apart):
            kept.append(fit)
    return kept


def _rigid_part(matrix: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Nearest rotation (Kabsch) that takes `centre` where `matrix` takes it."""
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    out = about(u @ vt, centre)
    out[:3, 3] += Affine(matrix)(centre) - centre
    return out
