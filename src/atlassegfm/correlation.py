"""How alike two images are around each voxel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

#: A window counts as constant when its variance is below this part of the whole image's.
FLAT = 1e-6


def windowed_correlation(first: np.ndarray, second: np.ndarray, window: Sequence[int]) -> np.ndarray:
    """Pearson correlation of two images in a window around each voxel.

    Parameters
    ----------
    first, second : numpy.ndarray, same 3D shape
        Intensities; gain and offset of either do not matter, nor does their drift over more than a window.
    window : three ints
        Odd edges of the window in voxels; beyond the array it sees the array mirrored.

    Returns
    -------
    numpy.ndarray
        float64 in [-1, 1]; 0 where either image is constant.
    """
    f, m = (image.astype(np.float64) - image.mean(dtype=np.float64) for image in (first, second))
    mean_f, mean_m, mean_ff, mean_mm, mean_fm = (ndimage.uniform_filter(v, window) for v in (f, m, f * f, m * m, f * m))
    var_f, var_m = mean_ff - mean_f**2, mean_mm - mean_m**2
    flat = (var_f <= FLAT * f.var()) | (var_m <= FLAT * m.var())
    both = np.sqrt(np.where(flat, 1.0, np.maximum(var_f * var_m, 0.0)))
    return np.clip(np.where(flat, 0.0, (mean_fm - mean_f * mean_m) / both), -1.0, 1.0)
