"""Priors that err the way registration errs: smooth displacements of the true label map by several mm."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from atlassegfm.registration.transform import Displacement
from atlassegfm.resampling import resample_labels
from atlassegfm.volume import Grid, Volume, bounding_box

#: Correlation lengths of the displacement in mm relative to its amplitude: an error of 8 mm varies over 24 to 64 mm.
CORRELATION = (3.0, 8.0)
#: Nodes of the random field along an axis, at most.
MAX_NODES = 48


def random_displacement(grid: Grid, amplitude_mm: float, rng: np.random.Generator) -> Displacement:
    """A smooth random field whose vectors have `amplitude_mm` root mean square length."""
    coarse = grid.with_spacing(max(amplitude_mm, float(grid.extent_mm.max()) / MAX_NODES, float(grid.spacing.min())))
    vectors = np.zeros((*coarse.shape, 3), dtype=np.float32)
    for length in CORRELATION:
        sigma = length * amplitude_mm / 2.0 / coarse.spacing
        noise = rng.standard_normal(vectors.shape).astype(np.float32)
        smooth = np.stack(
            [ndimage.gaussian_filter(noise[..., c], sigma, mode="reflect", truncate=3.0) for c in range(3)], axis=-1
        )
        vectors += smooth / max(float(np.sqrt((smooth**2).sum(axis=-1).mean())), 1e-9)
    rms = max(float(np.sqrt((vectors**2).sum(axis=-1).mean())), 1e-9)
    return Displacement(coarse, vectors * np.float32(amplitude_mm / rms))


def displaced_labels(labels: Volume, amplitude_mm: float, rng: np.random.Generator) -> Volume:
    """The label map under a random displacement (see `random_displacement`)."""
    field = random_displacement(labels.grid, amplitude_mm, rng)
    # No label gets farther than the longest vector; looking there alone halves the time on an abdomen.
    farthest = float(np.sqrt(np.square(field.vectors).sum(axis=-1).max()))
    voxels = farthest * np.linalg.norm(np.linalg.inv(labels.grid.affine)[:3, :3], axis=1)
    box = bounding_box(labels.data, margin=np.ceil(voxels).astype(int) + 1)
    out = np.zeros_like(labels.data)
    if box is not None:
        out[box] = resample_labels(labels, labels.grid.cropped(box), field).data
    return labels.with_data(out)
