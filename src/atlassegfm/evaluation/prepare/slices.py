"""Stacks of single-slice files: DICOM images with PNG masks, as CHAOS has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from atlassegfm.errors import InputError
from atlassegfm.volume import Grid, Volume

#: Slices may lie unevenly by this part of their distance.
UNEVEN_FRACTION = 0.05


def natural_key(path: Path) -> list:
    """Sort key in which slice 10 comes after slice 9."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def read_stack(
    slices: Sequence[Path], masks: Sequence[Path], mask_values: dict[int, tuple[int, int]]
) -> tuple[Volume, Volume]:
    """A DICOM stack and its PNG masks as image and label map on one grid.

    The series cannot be found through the series identifier (CHAOS gives every file its own), so the files of the
    folder are the series. Masks belong to slices by their position in the natural order of the file names. In space
    the slices are sorted by their own coordinates.

    Parameters
    ----------
    slices, masks : sequence of pathlib.Path
        DICOM and PNG files, as many of each.
    mask_values : dict of int to (int, int)
        Label value to the lowest and highest grey level of its pixels.
    """
    if len(slices) != len(masks) or len(slices) < 2:
        raise InputError(f"{slices[0].parent if slices else 'no slice'}: {len(slices)} slices but {len(masks)} masks")
    read = [_slice(path) for path in sorted(slices, key=natural_key)]
    labels = [_mask(path, mask_values) for path in sorted(masks, key=natural_key)]
    first = read[0]
    direction = np.array(first.GetDirection()).reshape(3, 3)
    positions = np.array([image.GetOrigin() for image in read])
    height = positions @ direction[:, 2]
    order = np.argsort(height)
    gaps = np.diff(height[order])
    step = float(np.median(gaps))
    if step <= 0 or np.abs(gaps - step).max() > UNEVEN_FRACTION * step:
        raise InputError(
            f"{slices[0].parent}: slices are missing or double, their distances go from {gaps.min():.2f} to "
            f"{gaps.max():.2f} mm"
        )
    affine = np.eye(4)
    affine[:3, :3] = direction * [*first.GetSpacing()[:2], step]
    affine[:3, 3] = positions[order[0]]
    shapes = {a.shape for a in labels} | {sitk.GetArrayViewFromImage(i).shape[1:] for i in read}
    if len(shapes) != 1:
        raise InputError(f"{slices[0].parent}: slices and masks differ in size: {sorted(shapes)}")
    grid_shape = (*reversed(labels[0].shape), len(read))
    grid = Grid(grid_shape, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine)
    data = np.stack([sitk.GetArrayFromImage(read[n])[0].T for n in order], axis=2).astype(np.float32)
    return Volume(data, grid), Volume(np.stack([labels[n].T for n in order], axis=2), grid)


def _slice(path: Path) -> sitk.Image:
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        raise InputError(f"{path}: not readable as DICOM") from error
    if image.GetDimension() != 3 or image.GetSize()[2] != 1:
        raise InputError(f"{path}: expected one slice, got {image.GetSize()} voxels")
    return image


def _mask(path: Path, mask_values: dict[int, tuple[int, int]]) -> np.ndarray:
    try:
        grey = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise InputError(f"{path}: not readable as PNG") from error
    grey = grey if grey.ndim == 2 else grey[..., 0]
    labels = np.zeros(grey.shape, np.uint8)
    for value, (low, high) in mask_values.items():
        labels[(grey >= low) & (grey <= high)] = value
    strange = np.unique(grey[(labels == 0) & (grey > 0)])
    if strange.size:
        raise InputError(f"{path}: grey level {int(strange[0])} is none of this data set's labels")
    return labels
