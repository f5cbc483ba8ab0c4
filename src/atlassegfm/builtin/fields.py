"""Smooth random fields and blurs on cubes, fast because they are separable: one small matrix per axis."""

from __future__ import annotations

import functools

import numpy as np


def along_axes(array: np.ndarray, matrices: tuple[np.ndarray, ...]) -> np.ndarray:
    """Apply one matrix (out, in) per axis to a 3D array."""
    for matrix in matrices:
        # Contracting the first axis and appending the result three times brings the axes back into order.
        array = np.tensordot(array, matrix, axes=(0, 1))
    return array


@functools.lru_cache(maxsize=64)
def spline_matrix(size: int, cells: int) -> np.ndarray:
    """Weights (size, cells + 3) of uniform cubic B-splines over `size` voxels, float32."""
    position = (np.arange(size) + 0.5) / size * cells
    offset = np.abs(position[:, None] - (np.arange(cells + 3) - 1.0)[None])
    inner = 2.0 / 3.0 - offset**2 + 0.5 * offset**3
    outer = np.clip(2.0 - offset, 0.0, None) ** 3 / 6.0
    return np.where(offset < 1.0, inner, outer).astype(np.float32)


def smooth_field(rng: np.random.Generator, shape: tuple[int, int, int], cells: int) -> np.ndarray:
    """A smooth random field (shape) of mean 0 and deviation 1 over the ensemble, varying over ``n / cells`` voxels."""
    nodes = rng.standard_normal((cells + 3,) * 3, dtype=np.float32)
    matrices = tuple(spline_matrix(n, cells) for n in shape)
    # A B-spline averages its nodes; 0.479 is the mean square of its weights (151/315) along one axis.
    return along_axes(nodes, matrices) * np.float32((151.0 / 315.0) ** -1.5)


def blur_matrix(size: int, sigma: float) -> np.ndarray:
    """Gaussian blur along an axis of `size` voxels, rows sum to one; the identity for sigma 0."""
    if sigma <= 0.0:
        return np.eye(size, dtype=np.float32)
    distance = np.arange(size)[:, None] - np.arange(size)[None]
    weights = np.exp(-0.5 * (distance / sigma) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def slices_matrix(size: int, thickness: float, offset: float) -> np.ndarray:
    """Slice profile (slices, size): Gaussian slices `thickness` voxels apart, the first centred at `offset`."""
    centres = np.arange(offset, size - 0.5, thickness)
    weights = np.exp(-0.5 * ((np.arange(size)[None] - centres[:, None]) / (0.35 * thickness)) ** 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def between_slices_matrix(size: int, thickness: float, offset: float) -> np.ndarray:
    """Linear interpolation (size, slices) back from the slices of `slices_matrix`."""
    count = len(np.arange(offset, size - 0.5, thickness))
    position = np.clip((np.arange(size) - offset) / thickness, 0.0, count - 1.0)
    return np.clip(1.0 - np.abs(position[:, None] - np.arange(count)[None]), 0.0, None).astype(np.float32)
