"""Soft masks from signed distances in mm: how sure a contour is of a voxel, by how far the voxel lies from it."""

from __future__ import annotations

from collections.abc import Sequence

import edt
import numpy as np
from scipy.special import expit, logit

from atlassegfm.errors import InputError
from atlassegfm.volume import bounding_box

#: Width of the soft band in mm: at this distance inside the border the probability is 0.73.
TAU_MM = 2.0
#: Beyond this many tau outside the border the probability (below 0.001) is set to zero.
REACH_TAU = 7.0
#: How much narrower the band becomes where a contour alone decides: by this factor.
SETTLED = 100.0
#: Keeps logits finite.
EPSILON = 1e-6
#: A map without a value farther than this from both 0 and 1 is a hard mask.
HARD = 0.01


def signed_distance(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance of each voxel centre from the border of a mask, in mm, positive inside.

    The border lies half way between a voxel of the mask and a neighbour outside. The distance transform measures to
    centres of the other class, so half a voxel along the direction of the shortest way is taken off. The edge of the
    array is no border: beyond the field of view nothing is known.

    Parameters
    ----------
    mask : numpy.ndarray of bool, 3D
        Neither empty nor full.
    spacing : three floats
        Voxel spacing in mm, along the array's axes.

    Returns
    -------
    numpy.ndarray
        float32, same shape.
    """
    inside = np.ascontiguousarray(mask, dtype=np.uint8)
    size = tuple(float(s) for s in spacing)
    raw = edt.edt(inside, anisotropy=size, black_border=False)
    raw -= edt.edt(1 - inside, anisotropy=size, black_border=False)
    # Half a voxel along the unit normal n: sqrt(sum (n_a h_a)^2) / 2, exact where the border is parallel to an axis.
    square, step = np.full(raw.shape, 1e-12, np.float32), np.zeros(raw.shape, np.float32)
    for axis, h in enumerate(size):
        if raw.shape[axis] > 1:
            slope = np.square(np.gradient(raw, h, axis=axis))
            square += slope
            step += slope * np.float32(h * h)
    half = 0.5 * np.sqrt(step / square)
    return np.sign(raw) * np.maximum(np.abs(raw) - half, 0.25 * min(size))


def soften(mask_prob: np.ndarray, spacing: Sequence[float], tau_mm: float = TAU_MM) -> np.ndarray:
    """Probability ``sigmoid(signed distance / tau)`` around the border of a mask.

    The contour itself (one half) stays where it is.

    Parameters
    ----------
    mask_prob : numpy.ndarray, 3D
        Mask or membership; foreground where at least one half.
    spacing : three floats
        Voxel spacing in mm.
    tau_mm : float
        Width of the soft band in mm.

    Returns
    -------
    numpy.ndarray
        float32 in [0, 1], same shape; zeros for an empty mask, ones for a full one.

    Raises
    ------
    InputError
        If `tau_mm` is not positive.
    """
    if not tau_mm > 0:
        raise InputError(f"expected a positive width of the soft band in mm, got {tau_mm}")
    mask = np.asarray(mask_prob) >= 0.5
    out = np.zeros(mask.shape, dtype=np.float32)
    margin = [1 + int(np.ceil(REACH_TAU * tau_mm / float(s))) for s in spacing]
    box = bounding_box(mask, margin)
    if box is None:
        return out
    if mask[box].all():
        out[box] = 1.0
        return out
    out[box] = expit(signed_distance(mask[box], spacing) / np.float32(tau_mm))
    return out


def settled(fused: np.ndarray, share: np.ndarray | float) -> np.ndarray:
    """A fused map in which what was made of softened contours is a contour again.

    The band of `soften` weighs contours against each other; it is no probability. Left in the result, the bands of
    neighbours would add up to labels where there is none, and a contour would come out larger than it went in.

    Parameters
    ----------
    fused : numpy.ndarray
        In [0, 1].
    share : numpy.ndarray or float
        How much of it comes from softened contours: 0 leaves it as it is, 1 makes it a contour at one half.

    Returns
    -------
    numpy.ndarray
        ``sigmoid(logit(fused) * (1 + (SETTLED - 1) * share))``, float32; one half stays one half.
    """
    return expit(logit(np.clip(fused, EPSILON, 1.0 - EPSILON)) * (1.0 + (SETTLED - 1.0) * share)).astype(np.float32)


def is_hard(m_fm: np.ndarray) -> bool:
    """Whether a model's map is a mask rather than a probability."""
    return not ((m_fm > HARD) & (m_fm < 1.0 - HARD)).any()


def soft_maps(
    m_atlas: np.ndarray, m_fm: np.ndarray, spacing: Sequence[float], tau_mm: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """Both maps as fusion wants them: neither a bare contour.

    M_atlas is a warped contour, whose membership knows nothing about how far off it may be, and is always softened.
    M_fm is softened only where the model gave a hard mask; a probability of its own is kept.

    Parameters
    ----------
    m_atlas, m_fm : numpy.ndarray, 3D float32
        Probabilities in [0, 1].
    spacing : three floats
        Voxel spacing in mm.
    tau_mm : float or None
        Width of the soft band; None leaves both maps as they are.
    """
    if tau_mm is None:
        return m_atlas, m_fm
    return soften(m_atlas, spacing, tau_mm), soften(m_fm, spacing, tau_mm) if is_hard(m_fm) else m_fm
