"""A bright ball in a noisy image, on voxels that are twice as thick as wide."""

from __future__ import annotations

import numpy as np

SPACING = (1.0, 1.0, 2.0)


def ball(radius, centre=(20, 20, 12), shape=(40, 40, 24)):
    """Mask of a ball; the radius in mm, the centre in voxels."""
    offsets = (np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))) * np.reshape(SPACING, (3, 1, 1, 1))
    return (offsets**2).sum(axis=0) <= radius**2


def scan(truth, noise=5.0):
    """An image of the mask."""
    return (100 + 60 * truth + np.random.default_rng(0).normal(0, noise, truth.shape)).astype(np.float32)
