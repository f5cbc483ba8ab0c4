"""Two blobs of their own grey levels in noise, as an atlas on an isotropic grid."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from atlassegfm.builtin.augment import Augmenter
from atlassegfm.builtin.network import RefinerNet, Shape

SMALL = Shape(widths=(8, 8, 8, 8), depths=(1, 1, 1))
SHAPE = (32, 24, 24)


def blobs(shape=SHAPE, shift: float = 0.0) -> np.ndarray:
    """Label numbers 1 and 2: two ellipsoids that touch."""
    i, j, k = np.meshgrid(*map(np.arange, shape), indexing="ij")
    labels = np.zeros(shape, np.uint8)
    labels[((i - 10 - shift) / 6.5) ** 2 + ((j - 12) / 7) ** 2 + ((k - 12) / 7) ** 2 < 1] = 1
    labels[((i - 22 - shift) / 5.5) ** 2 + ((j - 12) / 6) ** 2 + ((k - 12) / 6) ** 2 < 1] = 2
    return labels


def grey(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """An image of the label map."""
    noise = np.random.default_rng(seed).normal(0, 0.06, labels.shape)
    return ndimage.gaussian_filter(np.array([0.3, 0.6, 0.9])[labels] + noise, 0.5).astype(np.float32)


def augmenter(errors: tuple[float, ...] = (2.5, 2.5)) -> Augmenter:
    labels = blobs()
    return Augmenter(grey(labels), labels, errors, (6.0, 6.0))


def network(seed: int = 0) -> RefinerNet:
    """Untrained: returns the prior."""
    torch.manual_seed(seed)
    return RefinerNet(SMALL).eval()
