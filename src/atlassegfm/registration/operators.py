"""The operations that the deformable step is made of, once in torch (any device) and once compiled (CPU).

Images are (I, J, K), fields (C, I, J, K), float32; displacements are in voxels, in the array's axis order. Both kinds
compute the same; tests hold them side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch

from atlassegfm.registration import chains, kernels, lncc_kernels
from atlassegfm.registration.grids import (
    apply_matrix,
    box_sum,
    gaussian,
    gradient,
    identity,
    inside,
    lengths,
    sample,
    smooth,
    smooth_inside,
)

#: Weights of a smoothing and its norms along each axis.
Window = tuple[tuple[np.float32, ...], tuple[np.ndarray, ...]]


class Operators(Protocol):
    """What the deformable step asks for."""

    def warp(self, image: torch.Tensor, matrix: np.ndarray, shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Samples of `image` (C, I, J, K) at ``matrix @ (voxel + shift)``, and 1 where they lie in it, else 0."""

    def force(
        self, f: torch.Tensor, m: torch.Tensor, mask: torch.Tensor, radius: int, noise: float
    ) -> tuple[float, torch.Tensor]:
        """LNCC over the mask, and the gradient of its sum by the displacement of `m`, (3, I, J, K)."""

    def edges(self, x: torch.Tensor) -> torch.Tensor:
        """Length of the gradient (I, J, K) per voxel, by central differences, one-sided at the border."""

    def smooth(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """Gaussian smoothing, sigma in voxels; zero beyond the border."""

    def smooth_inside(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """Gaussian smoothing that treats the outside as missing, not as zero."""

    def longest(self, v: torch.Tensor) -> float:
        """Length of the longest of the vectors (3, I, J, K)."""

    def chained(self, u: torch.Tensor) -> bool:
        """Whether whole chains of operations on so small a displacement are best compiled as one call."""

    def step(
        self, u: torch.Tensor, force: torch.Tensor, length: float, smooth_update: float, smooth_field: float
    ) -> torch.Tensor | None:
        """`u` smoothed after a step along the smoothed force, its longest vector `length`; None without a force."""

    def reconciled(self, there: torch.Tensor, back: torch.Tensor, rounds: int) -> torch.Tensor:
        """`there` and the inverse of `back` brought together (Siebert et al., "ConvexAdam", TMI 44, 2025)."""


class _Chained:
    """What is made of the other operations, one after the other."""

    def step(
        self: Operators, u: torch.Tensor, force: torch.Tensor, length: float, smooth_update: float, smooth_field: float
    ) -> torch.Tensor | None:
        """See `Operators`."""
        update = self.smooth(force, smooth_update)
        longest = self.longest(update)
        if longest < 1e-12:
            return None
        return self.smooth_inside(compose(self, u, update * (length / longest)), smooth_field)

    def reconciled(self: Operators, there: torch.Tensor, back: torch.Tensor, rounds: int) -> torch.Tensor:
        """See `Operators`."""
        for _ in range(rounds):
            there, back = (
                0.5 * (there - self.warp(back, STILL, there)[0]),
                0.5 * (back - self.warp(there, STILL, back)[0]),
            )
        return there


#: A matrix that moves nothing.
STILL = np.eye(4)


def operators(device: torch.device) -> Operators:
    """Those for `device`."""
    return CompiledOperators() if device.type == "cpu" else TorchOperators()


def compose(ops: Operators, u: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Displacement of (id + u) o (id + v)."""
    return ops.warp(u, STILL, v)[0].add_(v)


#: Most steps of the fixed-point iteration that inverts a displacement, the part of each that is taken, and how many
#: voxels it may miss by.
_INVERSE_STEPS = 20
_INVERSE_DAMPING = 0.7
_INVERSE_MISS = 1e-4


def inverse(ops: Operators, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Displacement v of the inverse of id + u, and by how many voxels (I, J, K) the two miss each other.

    The damped fixed-point iteration v <- v - d (v + u o (id + v)) (Chen et al., "A simple fixed-point approach to
    invert a deformation field", Medical Physics 35 (2008), Eq. 6). It does not arrive where u folds.
    """
    v = -u
    miss = compose(ops, u, v)
    for _ in range(_INVERSE_STEPS):
        if ops.longest(miss) < _INVERSE_MISS:
            break
        v.sub_(miss, alpha=_INVERSE_DAMPING)
        miss = compose(ops, u, v)
    return v, lengths(miss)


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
    - A / C * (m(y) - mean m)) ], which expands into three more box sums.
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


class TorchOperators(_Chained):
    """In torch: for CUDA, and what the compiled ones are checked against."""

    def warp(self, image: torch.Tensor, matrix: np.ndarray, shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Operators`."""
        coords = apply_matrix(matrix, identity(tuple(shift.shape[1:]), shift.device) + shift)
        return sample(image, coords), inside(coords, tuple(image.shape[1:]))

    def force(
        self, f: torch.Tensor, m: torch.Tensor, mask: torch.Tensor, radius: int, noise: float
    ) -> tuple[float, torch.Tensor]:
        """See `Operators`."""
        value, slope = lncc_and_gradient(f, m, mask, radius, noise)
        return value, gradient(m) * slope

    def edges(self, x: torch.Tensor) -> torch.Tensor:
        """See `Operators`."""
        return lengths(gradient(x))

    def longest(self, v: torch.Tensor) -> float:
        """See `Operators`."""
        return float(lengths(v).max())

    def chained(self, u: torch.Tensor) -> bool:
        """See `Operators`."""
        return False

    smooth = staticmethod(smooth)
    smooth_inside = staticmethod(smooth_inside)


class CompiledOperators(_Chained):
    """In compiled loops over the tensors' memory: for CPUs."""

    def warp(self, image: torch.Tensor, matrix: np.ndarray, shift: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """See `Operators`."""
        out, seen = torch.empty(image.shape[0], *shift.shape[1:]), torch.empty(shift.shape[1:])
        m = rows(matrix)
        source, *others = map(array, (image, shift, out, seen))
        kernels.run_slabs(kernels.warp, shift.shape[1], shift.numel(), source, m, *others)
        return out, seen

    def force(
        self, f: torch.Tensor, m: torch.Tensor, mask: torch.Tensor, radius: int, noise: float
    ) -> tuple[float, torch.Tensor]:
        """See `Operators`."""
        planes = f.shape[0]
        out, value, count = torch.empty(3, *f.shape), np.zeros(planes), np.zeros(planes)
        box = (np.float32(1.0),) * (radius + 1)
        arrays = [*map(array, (f, m, mask)), box, np.float32(noise), array(out), value, count]
        kernels.run_slabs(lncc_kernels.lncc, planes, f.numel(), *arrays)
        return lncc_kernels.mean(value, count), out

    def edges(self, x: torch.Tensor) -> torch.Tensor:
        """See `Operators`."""
        out = torch.empty(x.shape)
        kernels.run_slabs(kernels.edges, len(x), x.numel(), array(x), array(out))
        return out

    def smooth(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """See `Operators`."""
        return x if sigma <= 0 else _convolved(x, *window(x.shape[1:], sigma, inside=False))

    def smooth_inside(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        """See `Operators`."""
        return x if sigma <= 0 else _convolved(x, *window(x.shape[1:], sigma, inside=True))

    def longest(self, v: torch.Tensor) -> float:
        """See `Operators`."""
        out = np.empty(v.shape[1], np.float32)
        kernels.run_slabs(kernels.longest, len(out), v.numel(), array(v), out)
        return float(np.sqrt(out.max()))

    def chained(self, u: torch.Tensor) -> bool:
        """See `Operators`."""
        return kernels.alone(u.numel())

    def step(
        self, u: torch.Tensor, force: torch.Tensor, length: float, smooth_update: float, smooth_field: float
    ) -> torch.Tensor | None:
        """See `Operators`."""
        if not self.chained(u) or min(smooth_update, smooth_field) <= 0:
            return super().step(u, force, length, smooth_update, smooth_field)
        windows = [window(u.shape[1:], s, inside=i) for s, i in ((smooth_update, False), (smooth_field, True))]
        out = torch.empty(u.shape)
        found = chains.step(array(u), array(force), length, rows(STILL), *windows, array(out))
        return out if found else None

    def reconciled(self, there: torch.Tensor, back: torch.Tensor, rounds: int) -> torch.Tensor:
        """See `Operators`."""
        if not self.chained(there):
            return super().reconciled(there, back, rounds)
        out = there.clone(memory_format=torch.contiguous_format)
        other = back.clone(memory_format=torch.contiguous_format)
        chains.reconciled(out.numpy(), other.numpy(), rows(STILL), rounds)
        return out


def rows(matrix: np.ndarray) -> np.ndarray:
    """The rows (3, 4) of a matrix (4, 4) that compiled loops take."""
    return np.ascontiguousarray(matrix[:3], dtype=np.float32)


def array(x: torch.Tensor) -> np.ndarray:
    """A tensor's values as compiled loops take them, one after the other; not copied where they lie so."""
    return x.contiguous().numpy()


def _weight_inside(n: int, kernel: tuple[float, ...]) -> np.ndarray:
    radius = len(kernel) // 2
    total = np.concatenate([[0.0], np.cumsum(kernel)])
    at = np.arange(n)
    return total[np.minimum(radius + n - at, len(kernel))] - total[np.maximum(radius - at, 0)]


def window(shape: Sequence[int], sigma: float, *, inside: bool) -> Window:
    """Weights of a Gaussian, centre first, and the norms per axis: ones, or what makes the outside missing."""
    kernel = gaussian(float(sigma))
    weights = tuple(np.float32(w) for w in kernel[len(kernel) // 2 :])
    # The weight that falls inside, per axis: the Gaussian is separable, and so is its norm at the border.
    norms = [1.0 / _weight_inside(n, kernel) if inside else np.ones(n) for n in shape]
    return weights, tuple(norm.astype(np.float32) for norm in norms)


def _convolved(x: torch.Tensor, weights: tuple[np.float32, ...], norms: tuple[np.ndarray, ...]) -> torch.Tensor:
    between, out = np.empty(x.shape, np.float32), np.empty(x.shape, np.float32)
    slabs = x.shape[0] * x.shape[1]
    if kernels.alone(x.numel()):
        chains.convolve(array(x), weights, norms, between, out)
        return torch.from_numpy(out)
    kernels.run_slabs(kernels.convolve_planes, slabs, x.numel(), array(x), weights, norms[1], norms[2], between)
    kernels.run_slabs(kernels.convolve_across, slabs, x.numel(), between, weights, norms[0], out)
    return torch.from_numpy(out)
