"""Antialiased resampling one axis after the other, for grids whose axes run along those of the image.

A Gaussian and linear interpolation are both separable. Each value of the result is then, along each axis, a weighted
mean of a few values of the image, and only those that some voxel of the result needs are computed: a copy of few
voxels no longer costs a blur of all voxels of the image (docs/decisions/0006-kernels.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlassegfm.runtime import compute_threads
from atlassegfm.volume import Grid

#: Axes of two grids are the same if over the whole grid they drift apart by less than this, in voxels.
MAX_DRIFT = 1e-4
#: Fewest values that are worth a second thread.
_WORTH_A_THREAD = 100_000


@dataclass(frozen=True)
class AxisWeights:
    """What each voxel of the result takes along one axis.

    Parameters
    ----------
    first : numpy.ndarray, shape (M,), int64
        The first voxel of the image that counts.
    weights : numpy.ndarray, shape (M, T), float32
        Of that voxel and of those after it; each row sums to 1.
    inside : numpy.ndarray, shape (M,), bool
        Whether the place lies in the image's field of view.
    """

    first: np.ndarray
    weights: np.ndarray
    inside: np.ndarray


def axis_weights(places: np.ndarray, size: int, sigma: float, truncate: float) -> AxisWeights:
    """Weights for linear interpolation, at places (M,) in voxels, of an axis of `size` voxels under a Gaussian.

    Beyond the border the border's value is taken, in the blur and in the interpolation.

    Parameters
    ----------
    places : numpy.ndarray, shape (M,)
        Voxel coordinates.
    size : int
        Voxels along the axis.
    sigma : float
        Standard deviation of the Gaussian in voxels; 0 is none.
    truncate : float
        Where the Gaussian ends, in standard deviations.
    """
    inside = (places >= -0.5) & (places <= size - 0.5)
    at = np.clip(places, 0.0, size - 1.0)
    before = np.floor(at).astype(np.int64)
    part = at - before
    radius = int(truncate * sigma + 0.5)
    steps = np.arange(-radius, radius + 1)
    kernel = np.exp(-0.5 * (steps / max(sigma, 1e-12)) ** 2)
    kernel /= kernel.sum()
    dense = np.zeros((len(at), size))
    rows = np.arange(len(at))[:, None]
    for neighbour, share in ((before, 1.0 - part), (np.minimum(before + 1, size - 1), part)):
        np.add.at(dense, (rows, np.clip(neighbour[:, None] + steps, 0, size - 1)), share[:, None] * kernel)
    low = np.maximum(before - radius, 0)
    width = int((np.minimum(before + 1 + radius, size - 1) - low).max()) + 1
    first = np.minimum(low, size - width)
    return AxisWeights(first, dense[rows, first[:, None] + np.arange(width)].astype(np.float32), inside)


def resampled_along_axes(
    data: np.ndarray, source: Grid, grid: Grid, sigma: np.ndarray, *, truncate: float, snap: float, fill: float
) -> np.ndarray | None:
    """Values at the voxels of `grid`, float32; None where its axes are not those of `source`.

    Parameters
    ----------
    data : numpy.ndarray, shape source.shape
        Converted to float32.
    source, grid : Grid
        Where the values lie and where they are wanted.
    sigma : numpy.ndarray, shape (3,)
        Standard deviations of the Gaussian along the axes, in voxels of `source`.
    truncate : float
        Where the Gaussian ends, in standard deviations.
    snap : float
        Places nearer than this to a voxel's centre, in voxels, are that centre.
    fill : float
        The value outside the field of view.
    """
    # Imported late: the compiler.
    from atlassegfm.axiswise_kernels import weighted
    from atlassegfm.compiled import run_parts

    matrix = np.linalg.inv(source.affine) @ grid.affine
    drift = np.abs(matrix[:3, :3] - np.diag(np.diag(matrix)[:3])) * np.array(grid.shape)
    if drift.max() >= MAX_DRIFT:
        return None
    axes = []
    for axis, count in enumerate(grid.shape):
        places = matrix[axis, axis] * np.arange(count) + matrix[axis, 3]
        whole = np.round(places)
        places = np.where(np.abs(places - whole) < snap, whole, places)
        axes.append(axis_weights(places, source.shape[axis], float(sigma[axis]), truncate))
    out = np.ascontiguousarray(data, dtype=np.float32)
    # Those that become shorter go first: the others then have less to do.
    for axis in sorted(range(3), key=lambda axis: grid.shape[axis] > source.shape[axis]):
        lines = int(np.prod(out.shape[:axis]))
        shape = (*out.shape[:axis], grid.shape[axis], *out.shape[axis + 1 :])
        values, out = out.reshape(lines, out.shape[axis], -1), np.empty(shape, np.float32)
        threads = min(compute_threads(), out.size // _WORTH_A_THREAD)
        rows = out.reshape(lines * grid.shape[axis], -1)
        run_parts(weighted, len(rows), threads, values, axes[axis].first, axes[axis].weights, rows)
    for axis, one in enumerate(axes):
        np.moveaxis(out, axis, 0)[~one.inside] = fill
    return out
