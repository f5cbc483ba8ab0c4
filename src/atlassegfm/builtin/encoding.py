"""How image and prompt become the network's input channels; the same code for training and for use.

Everything is in voxels of an isotropic working grid: the network never learns millimetres.
"""

from __future__ import annotations

import numpy as np

from atlassegfm.builtin import distance
from atlassegfm.prompts import Box, Point
from atlassegfm.volume import bounding_box

#: The network's input channels in order: image twice (whole crop; around the prior), prompts.
CHANNELS = ("image", "contrast", "prior", "rivals", "click", "box")
#: Signed distances are cut here, voxels, and divided by it.
CLIP_VOXELS = 8
#: Width of the click's ball: standard deviation in voxels.
CLICK_SIGMA = 2.5
#: Percentiles between which intensities count.
TAILS = (0.5, 99.5)
#: Standardised intensities are cut here.
CLIP_DEVIATIONS = 4.0
#: Every so many voxels along an axis are enough for percentiles.
STRIDE = 2


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance to the border of `mask` in voxels, positive inside, cut at `CLIP_VOXELS` and scaled to [-1, 1].

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (I, J, K)
        An empty mask gives -1 everywhere, a full one 1.

    Returns
    -------
    numpy.ndarray, float32, shape (I, J, K)
    """
    if not mask.any():
        return np.full(mask.shape, -1.0, dtype=np.float32)
    out = np.full(mask.shape, -1.0, dtype=np.float32)
    # Beyond the clipping distance nothing has to be computed.
    box = bounding_box(mask, margin=CLIP_VOXELS + 1)
    out[box] = distance.signed_distance(mask[box], CLIP_VOXELS) / np.float32(CLIP_VOXELS)
    return out


def standardised(image: np.ndarray) -> np.ndarray:
    """Intensities without their tails, mean 0 and deviation 1 over the array, cut at `CLIP_DEVIATIONS`; float32."""
    sample = image[::STRIDE, ::STRIDE, ::STRIDE].astype(np.float32, copy=False)
    low, high = np.percentile(sample, TAILS)
    sample = np.clip(sample, low, high)
    scale = max(float(sample.std()), 1e-6)
    values = (np.clip(image, low, high) - sample.mean()) / np.float32(scale)
    return np.clip(values, -CLIP_DEVIATIONS, CLIP_DEVIATIONS).astype(np.float32, copy=False)


def contrast(image: np.ndarray, inside: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Intensities seen from the prior: 0 is its median, 1 the spread of what lies in and around it.

    Weak contrasts, such as those of abdominal organs in CT, would drown in the whole crop's range.

    Parameters
    ----------
    image : numpy.ndarray, shape (I, J, K)
        Intensities in any unit.
    inside, near : numpy.ndarray of bool, same shape
        The prior (or what stands for it), and the prior with its surroundings; both may be empty: then the whole.

    Returns
    -------
    numpy.ndarray, float32, cut at `CLIP_DEVIATIONS`
    """
    centre = np.median(image[inside]) if inside.any() else np.median(image)
    low, high = np.percentile(image[near] if near.any() else image, (15.0, 85.0))
    values = (image - centre) / np.float32(max(0.5 * float(high - low), 1e-6))
    return np.clip(values, -CLIP_DEVIATIONS, CLIP_DEVIATIONS).astype(np.float32, copy=False)


def click_ball(shape: tuple[int, ...], point: Point) -> np.ndarray:
    """Gaussian ball of height 1 around a voxel, float32."""
    parts = [np.exp(-0.5 * ((np.arange(n) - c) / CLICK_SIGMA) ** 2) for n, c in zip(shape, point, strict=True)]
    return (parts[0][:, None, None] * parts[1][None, :, None] * parts[2][None, None, :]).astype(np.float32)


def encode(
    image: np.ndarray,
    prior: np.ndarray,
    rivals: np.ndarray,
    point: Point | None = None,
    box: Box | None = None,
) -> np.ndarray:
    """Input channels of one label on a crop around it.

    Parameters
    ----------
    image : numpy.ndarray, shape (I, J, K)
        Crop of the image on the isotropic working grid, any intensity unit.
    prior, rivals : numpy.ndarray of bool, same shape
        M_atlas of the label and of all other labels; nothing set where the prompt is no mask.
    point : three int, optional
        The click, in voxels of the crop.
    box : three (start, stop) pairs, optional
        Half-open box in voxels of the crop.

    Returns
    -------
    numpy.ndarray, float32, shape (len(CHANNELS), I, J, K)
    """
    out = np.zeros((len(CHANNELS), *image.shape), dtype=np.float32)
    out[0] = standardised(image)
    out[2] = signed_distance(prior)
    out[3] = signed_distance(rivals)
    if point is not None:
        out[4] = click_ball(image.shape, point)
    if box is not None:
        out[5][tuple(slice(max(0, a), max(0, b)) for a, b in box)] = 1.0
    inside, near = prior, out[2] > -1.0
    if not prior.any():
        inside = out[4] > 0.5 if point is not None else out[5] > 0
        near = out[4] > 1e-3 if point is not None else out[5] > 0
    out[1] = contrast(image, inside, near)
    return out
