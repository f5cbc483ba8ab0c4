"""From a layout to an image: random intensities per region, then what scanners and resampling do to them."""

from __future__ import annotations

import numpy as np

from atlassegfm.builtin.anatomy import AIR, MAX_REGIONS
from atlassegfm.builtin.fields import along_axes, between_slices_matrix, blur_matrix, slices_matrix, smooth_field


def random_image(rng: np.random.Generator, regions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An image of a layout.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all that is random.
    regions : numpy.ndarray of int16, shape (n, n, n)
        Layout, 0 is air.

    Returns
    -------
    image : numpy.ndarray, float32, shape (n, n, n)
        Intensities; tissue lies about [0, 1] unless inverted or distorted.
    seen : numpy.ndarray of bool, same shape
        The field of view.
    """
    image = _tissues(rng, regions)
    if rng.random() < 0.6:
        image *= np.exp(rng.uniform(0.05, 0.4) * smooth_field(rng, image.shape, int(rng.integers(1, 3))))
    image = _acquired(rng, image)
    if rng.random() < 0.3:
        low, high = image.min(), image.max()
        image = ((image - low) / max(high - low, 1e-6)) ** np.float32(np.exp(rng.uniform(-0.5, 0.5)))
    if rng.random() < 0.15:
        # A display window, as of 8-bit CT: what lies outside it is flat.
        image = np.clip(image, *np.sort(np.percentile(image[::3, ::3, ::3], rng.uniform((0, 80), (20, 100)))))
    if rng.random() < 0.3:
        image = -image
    seen = _field_of_view(rng, image.shape)
    image[~seen] = image.min() if rng.random() < 0.7 else np.float32(rng.uniform(image.min(), image.max()))
    return image.astype(np.float32, copy=False), seen


def _tissues(rng: np.random.Generator, regions: np.ndarray) -> np.ndarray:
    """Mean, texture at three scales and a slow gradient for each region."""
    means = rng.uniform(0.0, 1.0, MAX_REGIONS)
    # Neighbours often look alike: some regions take another's mean but for a little.
    copies = rng.random(MAX_REGIONS) < rng.uniform(0.1, 0.7)
    near = means[rng.integers(0, MAX_REGIONS, MAX_REGIONS)] + rng.normal(0.0, 0.06, MAX_REGIONS)
    few = rng.uniform(0.0, 1.0, 4)[rng.integers(0, 4, MAX_REGIONS)] + rng.normal(0.0, 0.06, MAX_REGIONS)
    means = np.where(copies, few if rng.random() < 0.6 else near, means)
    if rng.random() < 0.8:
        means[AIR] = rng.uniform(-0.1, 0.05)
    image = means.astype(np.float32)[regions]
    rough = rng.uniform(0.0, 0.1)
    for cells in (2, regions.shape[0] // 12, regions.shape[0] // 5):
        size = np.abs(rng.normal(0.0, rough, MAX_REGIONS)).astype(np.float32)
        size[AIR] = 0.0
        image += size[regions] * smooth_field(rng, image.shape, cells)
    grain = np.abs(rng.normal(0.0, rough, MAX_REGIONS)).astype(np.float32)
    grain[AIR] = 0.0
    image += grain[regions] * rng.standard_normal(image.shape, dtype=np.float32)
    return image


def _acquired(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Point spread, noise and thick slices; the noise is finer or coarser than the blur as scanners have it."""
    size = image.shape[0]
    noise = np.float32(np.exp(rng.uniform(np.log(0.005), np.log(0.12))))
    sigma = rng.uniform(0.0, 1.0)
    image = along_axes(image, tuple(blur_matrix(n, sigma) for n in image.shape))
    image += noise * rng.standard_normal(image.shape, dtype=np.float32)
    if rng.random() < 0.55:
        thickness, axis = rng.uniform(1.2, 4.5), int(rng.integers(3))
        offset = rng.uniform(0.0, thickness)
        there_and_back = between_slices_matrix(size, thickness, offset) @ slices_matrix(size, thickness, offset)
        flat = np.eye(size, dtype=np.float32)
        image = along_axes(image, tuple(there_and_back if a == axis else flat for a in range(3)))
    if rng.random() < 0.5:
        smooth = rng.uniform(0.3, 0.8)
        image = along_axes(image, tuple(blur_matrix(n, smooth) for n in image.shape))
        image += 0.3 * noise * rng.standard_normal(image.shape, dtype=np.float32)
    return image


def _field_of_view(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Everything, or with some chance what lies on one side of one or two faces."""
    seen = np.ones(shape, dtype=bool)
    while rng.random() < 0.15:
        axis, width = int(rng.integers(3)), int(rng.integers(2, shape[0] // 3))
        lost = [slice(None)] * 3
        lost[axis] = slice(0, width) if rng.random() < 0.5 else slice(shape[axis] - width, None)
        seen[tuple(lost)] = False
    return seen
