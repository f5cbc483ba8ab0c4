"""Label maps out of binary masks and cropped segmentation files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from atlassegfm.errors import GeometryError
from atlassegfm.resampling import resample_labels
from atlassegfm.volume import Grid, Volume

#: A segmentation lies on the image's lattice when its voxels are off by no more than this part of one.
LATTICE_FRACTION = 0.05


def on_grid(labels: Volume, grid: Grid) -> Volume:
    """A label map on `grid`, losslessly where its voxels are voxels of `grid`.

    3D Slicer stores segmentations cropped to what is drawn. Such a file is pasted at its place; only one with other
    voxels is resampled, by nearest neighbour.

    Raises
    ------
    GeometryError
        If the label map lies outside the image altogether.
    """
    if labels.grid.matches(grid, LATTICE_FRACTION * float(grid.spacing.min())):
        return Volume(labels.data, grid)
    step = np.linalg.inv(grid.affine) @ labels.affine
    offset = np.rint(step[:3, 3])
    drift = np.abs(step[:3, :3] - np.eye(3)) @ np.array(labels.grid.shape) + np.abs(step[:3, 3] - offset)
    if drift.max() > LATTICE_FRACTION:
        return resample_labels(labels, grid, method="nearest")
    result = np.zeros(grid.shape, labels.data.dtype)
    target, source = [], []
    for start, length, size in zip(offset.astype(int), labels.grid.shape, grid.shape, strict=True):
        low, high = max(0, start), min(size, start + length)
        if low >= high:
            raise GeometryError("the segmentation lies outside its image")
        target.append(slice(low, high))
        source.append(slice(low - start, high - start))
    result[tuple(target)] = labels.data[tuple(source)]
    return Volume(result, grid)


def merged(masks: Iterable[tuple[int, np.ndarray]], shape: tuple[int, int, int]) -> np.ndarray:
    """One label map out of binary masks.

    Where masks overlap the smaller structure is kept, so that none is swallowed by the one around it.

    Parameters
    ----------
    masks : iterable of (value, boolean array)
        Read one after the other; only the label map and the sizes are kept.
    shape : tuple of int
        Of all arrays.
    """
    result = np.zeros(shape, np.uint8)
    sizes: dict[int, int] = {0: 0}
    for value, mask in masks:
        sizes[value] = int(np.count_nonzero(mask))
        if value > np.iinfo(result.dtype).max:
            result = result.astype(np.uint16)
        holder = result[mask]
        # Background has size 0 but never keeps a voxel.
        keep = np.array([v != 0 and sizes.get(v, 0) < sizes[value] for v in range(int(holder.max(initial=0)) + 1)])
        holder[~keep[holder]] = value
        result[mask] = holder
    return result


def renamed(names: Mapping[int, str]) -> dict[int, str]:
    """Names with spaces for underscores, as people write them."""
    return {value: name.replace("_", " ") for value, name in names.items()}
