"""Tensor helpers of the registration: working copies, sampling at voxel coordinates, box sums, smoothing.

Tensors are (C, I, J, K) float32; coordinates and displacements are (3, I, J, K) in voxels, in the array's axis order.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch.nn import functional as nnf

from atlassegfm.registration.kept import Kept
from atlassegfm.resampling import resample_image
from atlassegfm.volume import Grid, Volume

#: Copies with so many times fewer voxels than their image are kept with it.
SMALL = 6
#: By image and voxel size in mm.
_small_copies: Kept[Volume] = Kept()


def identity(shape: tuple[int, int, int], device: torch.device | None = None) -> torch.Tensor:
    """Voxel coordinates of every voxel, (3, I, J, K)."""
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in shape]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"))


def sample(image: torch.Tensor, coords: torch.Tensor, *, border: bool = True) -> torch.Tensor:
    """Trilinear samples of (C, I, J, K) at voxel coordinates (3, ...): (C, ...).

    Beyond the array the border value is repeated (``border=True``) or 0 is returned.
    """
    shape = image.shape[1:]
    scale = torch.tensor([2.0 / max(n - 1, 1) for n in shape], device=image.device)
    # grid_sample wants (x, y, z) = (last axis, ..., first axis) in [-1, 1].
    flat = coords.reshape(3, -1)
    grid = torch.stack([flat[a] * scale[a] - 1.0 for a in (2, 1, 0)], dim=-1)
    out = nnf.grid_sample(
        image[None],
        grid[None, :, None, None, :],
        mode="bilinear",
        padding_mode="border" if border else "zeros",
        align_corners=True,
    )
    return out.reshape(image.shape[0], *coords.shape[1:])


def box_sum(x: torch.Tensor, radius: int) -> torch.Tensor:
    """Sum over a window of 2 * radius + 1 voxels along the last three axes, zero beyond the border.

    Shifted slices added in place: on a CPU several times faster than pooling or convolution.
    """
    for axis in (-3, -2, -1):
        n = x.shape[axis]
        out = x.clone()
        for shift in range(1, min(radius, n - 1) + 1):
            out.narrow(axis, 0, n - shift).add_(x.narrow(axis, shift, n - shift))
            out.narrow(axis, shift, n - shift).add_(x.narrow(axis, 0, n - shift))
        x = out
    return x


@functools.cache
def gaussian(sigma: float) -> tuple[float, ...]:
    """Weights of a Gaussian, sigma in voxels, out to three sigmas; their sum is 1."""
    radius = max(1, int(np.ceil(3.0 * sigma)))
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    return tuple((weights / weights.sum()).tolist())


def smooth(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian smoothing along the last three axes, sigma in voxels; zero beyond the border."""
    if sigma <= 0:
        return x
    kernel = gaussian(float(sigma))
    radius = len(kernel) // 2
    for axis in (-3, -2, -1):
        n = x.shape[axis]
        out = x * kernel[radius]
        for shift in range(1, min(radius, n - 1) + 1):
            weight = kernel[radius + shift]
            out.narrow(axis, 0, n - shift).add_(x.narrow(axis, shift, n - shift), alpha=weight)
            out.narrow(axis, shift, n - shift).add_(x.narrow(axis, 0, n - shift), alpha=weight)
        x = out
    return x


def smooth_inside(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian smoothing that treats the outside as missing, not as zero."""
    if sigma <= 0:
        return x
    return smooth(x, sigma) / smooth(torch.ones_like(x[:1]), sigma)


def gradient(x: torch.Tensor) -> torch.Tensor:
    """Central differences of (I, J, K) per voxel, one-sided at the border: (3, I, J, K)."""
    out = torch.zeros(3, *x.shape, dtype=x.dtype, device=x.device)
    for axis in range(3):
        n = x.shape[axis]
        if n < 2:
            continue
        part = out[axis]
        part.narrow(axis, 1, n - 2).copy_(x.narrow(axis, 2, n - 2) - x.narrow(axis, 0, n - 2)).mul_(0.5)
        part.narrow(axis, 0, 1).copy_(x.narrow(axis, 1, 1) - x.narrow(axis, 0, 1))
        part.narrow(axis, n - 1, 1).copy_(x.narrow(axis, n - 1, 1) - x.narrow(axis, n - 2, 1))
    return out


def lengths(vectors: torch.Tensor) -> torch.Tensor:
    """Length of each vector of (3, I, J, K): (I, J, K); what torch calls a norm takes ninety times as long on a CPU."""
    return vectors.square().sum(dim=0).sqrt_()


def determinant(u: torch.Tensor) -> torch.Tensor:
    """Determinant (I, J, K) of the Jacobian of x + u(x), u (3, I, J, K) in voxels, by central differences."""
    a, b, c = (gradient(part) for part in u)
    for axis, row in enumerate((a, b, c)):
        row[axis] += 1.0
    return a[0] * (b[1] * c[2] - b[2] * c[1]) - a[1] * (b[0] * c[2] - b[2] * c[0]) + a[2] * (b[0] * c[1] - b[1] * c[0])


def voxel_map(target: Grid, source: Grid, matrix: np.ndarray | None = None) -> np.ndarray:
    """4x4 map from voxel indices of `target` to voxel indices of `source`, through a world `matrix` if given."""
    world = np.eye(4) if matrix is None else matrix
    return np.linalg.inv(source.affine) @ world @ target.affine


def apply_matrix(matrix: np.ndarray, coords: torch.Tensor) -> torch.Tensor:
    """Apply a 4x4 voxel map to coordinates (3, ...)."""
    m = torch.as_tensor(np.array(matrix), dtype=torch.float32, device=coords.device)
    flat = torch.addmm(m[:3, 3:4], m[:3, :3], coords.reshape(3, -1))
    return flat.reshape(coords.shape)


def inside(coords: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """1 where coordinates (3, ...) lie within half a voxel of the array, else 0; float32 (...)."""
    ok = torch.ones(coords.shape[1:], dtype=torch.bool, device=coords.device)
    for axis, n in enumerate(shape):
        ok &= (coords[axis] > -0.5) & (coords[axis] < n - 0.5)
    return ok.float()


def working_copy(image: Volume, spacing_mm: float) -> Volume:
    """Isotropic, antialiased copy over the same field of view; small ones are kept, and must not be changed.

    The search for a start, the affine fit and the mirror check look at the same ones, there and back.
    """
    grid = image.grid.with_spacing(spacing_mm)

    def copied() -> Volume:
        return resample_image(image, grid, antialias=True)

    return _small_copies.of(image, spacing_mm, copied) if SMALL * grid.size <= image.grid.size else copied()


def shortest_edge(fixed: Volume, moving: Volume) -> float:
    """Shortest edge of either image in mm."""
    return float(min(fixed.grid.extent_mm.min(), moving.grid.extent_mm.min()))


def coarse_copies(fixed: Volume, moving: Volume, voxels: int) -> tuple[Volume, Volume]:
    """Copies with `voxels` voxels along the longest edge of both, but none finer than the working copies given."""
    longest = float(max(fixed.grid.extent_mm.max(), moving.grid.extent_mm.max()))
    spacing = max(longest / voxels, float(fixed.spacing[0]))
    return working_copy(fixed, spacing), working_copy(moving, spacing)


def around(image: Volume, points: np.ndarray, margin: float | np.ndarray) -> Volume:
    """The part of an image within `margin` voxels of the box of world points (N, 3) along its axes; never empty."""
    at = image.grid.to_voxel(points)
    last = np.array(image.grid.shape) - 1
    low = np.clip(np.floor(at.min(axis=0) - margin), 0, last).astype(int)
    high = np.clip(np.ceil(at.max(axis=0) + margin), 0, last).astype(int)
    box = tuple(slice(a, b + 1) for a, b in zip(low.tolist(), high.tolist(), strict=True))
    return cut(image, box)


def cut(image: Volume, box: tuple[slice, slice, slice]) -> Volume:
    """The voxels of an image in a box, a copy of their own."""
    return Volume(np.ascontiguousarray(image.data[box]), image.grid.cropped(box))
