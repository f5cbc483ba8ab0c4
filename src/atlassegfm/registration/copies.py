"""Working copies of scans: isotropic, of bounded size, intensities clamped and scaled; kept as long as the scan lives.

An atlas meets many queries: what can be prepared for the first of them is not prepared again for the next.
"""

from __future__ import annotations

import numpy as np

from atlassegfm.errors import RegistrationError
from atlassegfm.registration.grids import working_copy
from atlassegfm.registration.kept import Kept
from atlassegfm.volume import Volume

#: Most voxels of a working copy; more than the scan itself has it never gets.
TARGET_VOXELS = 6_000_000
#: Intensities outside these percentiles are clamped.
CLAMP_PERCENTILES = (0.5, 99.5)

#: Copies by scan and voxel size in mm.
_kept: Kept[Volume] = Kept()


def clamped(image: Volume) -> Volume:
    """Intensities clamped at `CLAMP_PERCENTILES` and scaled to [0, 1], float32.

    Raises
    ------
    RegistrationError
        If the image is constant.
    """
    low, high = np.percentile(image.data, CLAMP_PERCENTILES)
    if not high > low:
        low, high = float(image.data.min()), float(image.data.max())
    if not high > low:
        raise RegistrationError("expected an image with contrast, got a constant one")
    # In place and in single precision: arrays of doubles as large as a scan cost more than all the rest.
    out = image.data.astype(np.float32)
    out -= np.float32(low)
    out /= np.float32(high - low)
    return Volume(np.clip(out, 0.0, 1.0, out=out), image.grid)


def working_spacing(fixed: Volume, moving: Volume, voxels: int = TARGET_VOXELS) -> float:
    """Isotropic voxel size in mm, of two digits: as many voxels as the coarser image has, but no more than `voxels`.

    Between thick slices nothing is seen that finer voxels could hold. With rounded sizes the queries of a cohort share
    the atlas's copies although their extents differ a little.
    """
    volume = float(np.sqrt(np.prod(fixed.grid.extent_mm) * np.prod(moving.grid.extent_mm)))
    edge = max(fixed.grid.voxel_edge_mm, moving.grid.voxel_edge_mm, float(np.cbrt(volume / voxels)))
    return float(f"{edge:.2g}")


def scaled_copy(image: Volume, spacing_mm: float) -> Volume:
    """Isotropic, antialiased copy over the same field of view with clamped intensities in [0, 1].

    Parameters
    ----------
    image : Volume
        A scan with raw intensities; whoever changes its array in place gets the old copy back.
    spacing_mm : float
        Edge of the copy's voxels.

    Raises
    ------
    RegistrationError
        If the image is constant.
    """
    return _kept.of(image, spacing_mm, lambda: working_copy(clamped(image), spacing_mm))
