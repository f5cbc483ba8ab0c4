"""A body in which one organ has slid to another place while everything around it stays."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from atlassegfm.volume import Grid, Volume

SPACING = 2.0
SHAPE = (64, 56, 48)
GRID = Grid(SHAPE, np.diag([SPACING] * 3 + [1.0]))
MIDDLE = np.array([64.0, 56.0, 48.0])
RADII = np.array([13.0, 10.0, 16.0])
#: A second label lies in a corner of the image, and stays where it is.
CORNER = (slice(4, 14), slice(4, 14), slice(4, 14))
SLID = np.array([0.0, 14.0, -6.0])


def organ(shift=(0.0, 0.0, 0.0), grid=GRID):
    """Mask of the organ, `shift` mm from its place."""
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    return (((points - MIDDLE - shift) / RADII) ** 2).sum(axis=-1) <= 1.0


def texture(seed, shift=(0.0, 0.0, 0.0)):
    """Smooth noise of unit spread, moved by `shift` mm."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=SHAPE), 2.5)
    return ndimage.shift(noise / noise.std(), np.array(shift) / SPACING, order=1, mode="reflect")


def scan(shift=(0.0, 0.0, 0.0), seed=7):
    """Image of the body with its organ `shift` mm from its place, intensities in [0, 1]; the seed is of the noise."""
    inside = 0.65 + 0.05 * texture(2, shift)
    image = np.where(organ(shift), inside, 0.35 + 0.06 * texture(1))
    image += 0.01 * np.random.default_rng(seed).normal(size=SHAPE)
    return Volume(np.clip(image, 0.0, 1.0).astype(np.float32), GRID)


def label(shift=(0.0, 0.0, 0.0)):
    """Label map of the organ."""
    return Volume(organ(shift).astype(np.uint8), GRID)


def two_labels(shift=(0.0, 0.0, 0.0)):
    """Label map of the organ and of the corner."""
    labels = label(shift)
    labels.data[CORNER] = 2
    return labels
