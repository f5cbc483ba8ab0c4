"""Rigid and affine registration: Gauss-Newton on the masked normalised cross-correlation.

With the intensities of the moving image fitted to the fixed ones by a gain and an offset, the squared residual equals
var(fixed) * (1 - NCC^2): minimising it over gain, offset and motion together (variable projection) maximises NCC and
needs no step sizes, no units and no autograd.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from atlassegfm.registration.grids import apply_matrix, gradient, identity, inside, sample, smooth_inside, voxel_map
from atlassegfm.registration.initialise import MIN_OVERLAP, OVERLAP_POWER, Start
from atlassegfm.registration.transform import Affine
from atlassegfm.volume import Grid, Volume

#: Residuals beyond this many robust standard deviations lose weight (Huber): other anatomy must not pull.
HUBER = 1.5
#: Singular values of the affine's linear part stay within these bounds: bodies differ by less.
SCALE_BOUNDS = (0.55, 1.8)
ITERATIONS = 25
#: A step that gains less than this is the last one.
MIN_GAIN = 2e-5
MAX_DAMPING = 1e3
#: Surroundings of the second channel: Gaussian width in voxels of the level, and the variance that counts as flat.
LOCAL_SIGMA = 2.0
LOCAL_NOISE = 1e-3


@dataclass(frozen=True)
class Fit:
    """A linear alignment (fixed to moving world points) and its overlap-weighted NCC."""

    matrix: np.ndarray
    score: float


def channels(image: torch.Tensor) -> torch.Tensor:
    """What is compared: the intensity, and the intensity against its surroundings in units of their spread.

    The first tells tissues apart over the whole image, the second is blind to bias fields and contrast changes.
    """
    mean = smooth_inside(image[None], LOCAL_SIGMA)[0]
    spread = smooth_inside((image - mean).square()[None], LOCAL_SIGMA)[0].add_(LOCAL_NOISE).sqrt_()
    return torch.stack([image, (image - mean) / spread])


class LinearProblem:
    """Both images at one resolution, ready to be scored and improved under any matrix."""

    def __init__(self, fixed: Volume, moving: Volume, device: torch.device) -> None:
        self.fixed_grid: Grid = fixed.grid
        self.moving_grid: Grid = moving.grid
        self.f = channels(torch.as_tensor(fixed.data, device=device)).flatten(1)
        image = channels(torch.as_tensor(moving.data, device=device))
        # Gradient per mm along the world axes: (I, J, K) differences times the inverse voxel-to-world matrix.
        per_voxel = torch.as_tensor(np.linalg.inv(moving.affine[:3, :3]).T, dtype=torch.float32, device=device)
        slopes = [torch.einsum("wv,v...->w...", per_voxel, gradient(channel)) for channel in image]
        self.m = torch.cat([torch.cat([channel[None], slope]) for channel, slope in zip(image, slopes, strict=True)])
        self.coords = identity(fixed.grid.shape, device).flatten(1)

    def sampled(self, matrix: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Fixed values (C, n), moving values and slopes (C, 4, n), moving voxel coordinates (3, n); overlap only."""
        coords = apply_matrix(voxel_map(self.fixed_grid, self.moving_grid, matrix), self.coords)
        keep = torch.nonzero(inside(coords, self.moving_grid.shape))[:, 0]
        coords = coords[:, keep]
        return self.f[:, keep], sample(self.m, coords).unflatten(0, (-1, 4)), coords

    def score(self, f: torch.Tensor, m: torch.Tensor) -> float:
        """Mean NCC of the channels (C, n), times overlap**p; -1 where too little overlaps."""
        voxel_ratio = float(np.prod(self.fixed_grid.spacing) / np.prod(self.moving_grid.spacing))
        overlap = f.shape[1] / min(self.fixed_grid.size, self.moving_grid.size / voxel_ratio)
        if overlap < MIN_OVERLAP:
            return -1.0
        f, m = f - f.mean(dim=1, keepdim=True), m - m.mean(dim=1, keepdim=True)
        ncc = (f * m).sum(dim=1) / torch.sqrt((f * f).sum(dim=1) * (m * m).sum(dim=1)).clamp_min(1e-6)
        return float(ncc.mean()) * min(1.0, overlap) ** OVERLAP_POWER


def _motion_columns(slopes: torch.Tensor, y: torch.Tensor, dof: int) -> torch.Tensor:
    """Derivative of the moving values by the motion, for moving points `y` (3, n) relative to the centre: (dof, n)."""
    if dof == 6:
        return torch.cat([torch.linalg.cross(y, slopes, dim=0), slopes])
    return torch.cat([(slopes[:, None] * y[None]).reshape(9, -1), slopes])


def _increment(step: np.ndarray, centre: np.ndarray, scale: float, dof: int) -> np.ndarray:
    """4x4 matrix of a motion step (rotation or linear part times `scale`, then mm) about `centre`."""
    if dof == 6:
        linear = Rotation.from_rotvec(step[:3] / scale).as_matrix()
    else:
        linear = np.eye(3) + step[:9].reshape(3, 3) / scale
    out = np.eye(4)
    out[:3, :3] = linear
    out[:3, 3] = centre - linear @ centre + step[-3:]
    return out


@dataclass(frozen=True)
class _System:
    """Normal equations of one Gauss-Newton step and the score where it starts."""

    normal: np.ndarray
    rhs: np.ndarray
    centre: np.ndarray
    scale: float
    score: float


def _channel_equations(
    target: torch.Tensor, moving: torch.Tensor, y: torch.Tensor, dof: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Contribution of one channel: gain and offset are eliminated after the motion (Schur complement)."""
    target = (target - target.mean()) / target.std().clamp_min(1e-3)
    value = moving[0] - moving[0].mean()
    gain = (value * target).sum() / (value * value).sum().clamp_min(1e-6)
    residual = target - gain * value
    weight = (HUBER * 1.25 * residual.abs().mean() / residual.abs().clamp_min(1e-6)).clamp_max(1.0)
    columns = torch.cat([gain * _motion_columns(moving[1:], y, dof), value[None], torch.ones_like(value)[None]])
    weighted = columns * weight
    normal, rhs = (weighted @ columns.T).double(), (weighted @ residual).double()
    nuisance = torch.linalg.solve(
        normal[dof:, dof:] + 1e-6 * torch.eye(2, dtype=torch.float64, device=normal.device),
        torch.cat([normal[dof:, :dof], rhs[dof:, None]], dim=1),
    )
    reduced = torch.cat([normal[:dof, :dof], rhs[:dof, None]], dim=1) - normal[:dof, dof:] @ nuisance
    return reduced[:, :dof], reduced[:, dof]


def _system(problem: LinearProblem, matrix: np.ndarray, dof: int) -> _System | None:
    f, m, coords = problem.sampled(matrix)
    score = problem.score(f, m[:, 0])
    if score <= -1.0:
        return None
    y = apply_matrix(problem.moving_grid.affine, coords)
    centre = y.mean(dim=1, keepdim=True)
    y = y - centre
    scale = float(y.norm(dim=0).mean().clamp_min(1.0))
    parts = [_channel_equations(f[c], m[c], y / scale, dof) for c in range(f.shape[0])]
    normal = sum(p[0] for p in parts).cpu().numpy()
    rhs = sum(p[1] for p in parts).cpu().numpy()
    return _System(normal, rhs, centre[:, 0].double().cpu().numpy(), scale, score)


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


def affine_candidates(
    fixed: Volume, moving: Volume, starts: Sequence[Start], device: torch.device, *, dof: int = 12
) -> list[Fit]:
    """Rigid, then (``dof=12``) affine registration from every start, best first, those that met left out.

    Parameters
    ----------
    fixed, moving : Volume
        Coarse working copies scaled to [0, 1].
    starts : sequence of Start
        From `find_starts`.
    device : torch.device
        Where to compute.
    dof : {6, 12}
        Rigid or affine.
    """
    problem = LinearProblem(fixed, moving, device)
    fits: list[Fit] = []
    corners = fixed.grid.corners
    for start in starts:
        # The starts may hold a scale: a help on the way to an affine, but no part of a rigid motion.
        fit = optimise(problem, start.matrix if dof == 12 else _rigid_part(start.matrix, fixed.grid.centre), 6)
        if dof == 12:
            fit = optimise(problem, fit.matrix, 12)
        apart = [np.abs(Affine(fit.matrix)(corners) - Affine(other.matrix)(corners)).max() for other in fits]
        if fit.score > -1.0 and all(distance > fixed.spacing.max() for distance in apart):
            fits.append(fit)
    return sorted(fits, key=lambda f: -f.score)


def _rigid_part(matrix: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Nearest rotation (Kabsch) that takes `centre` where `matrix` takes it."""
    u, _, vt = np.linalg.svd(matrix[:3, :3])
    out = np.eye(4)
    out[:3, :3] = u @ vt
    out[:3, 3] = Affine(matrix)(centre) - out[:3, :3] @ centre
    return out
