"""What every fusion shares: its input, the cases in which there is nothing to fuse, and the crop it works on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from atlassegfm.errors import InputError
from atlassegfm.volume import bounding_box

#: A map that nowhere reaches this is empty: it claims no voxel.
THRESHOLD = 0.5
#: Probabilities below this are taken as zero where the crop is chosen.
TINY = 0.01
#: The crop reaches this far beyond both masks, in mm, and never less than MARGIN_VOXELS.
MARGIN_MM = 8.0
MARGIN_VOXELS = 4

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class Example:
    """One lesson on the support; build it with `Example.checked`.

    Parameters
    ----------
    m_atlas, m_fm : numpy.ndarray, 3D float32
        Probabilities in [0, 1].
    truth : numpy.ndarray of bool, same shape
        The support's label.
    image : numpy.ndarray, same shape, float32
        Intensities.
    spacing : tuple of three floats
        Voxel spacing in mm.
    """

    m_atlas: np.ndarray
    m_fm: np.ndarray
    truth: np.ndarray
    image: np.ndarray
    spacing: tuple[float, float, float]

    @classmethod
    def checked(
        cls, m_atlas: np.ndarray, m_fm: np.ndarray, truth: np.ndarray, image: np.ndarray, spacing: Sequence[float]
    ) -> Example:
        """Check the arrays and cut them down to where there is something to learn.

        Raises
        ------
        InputError
            If shapes differ or an array is not finite.
        """
        m_atlas, m_fm, image, spacing = checked_maps(m_atlas, m_fm, image, spacing)
        truth = np.asarray(truth, dtype=bool)
        if truth.shape != m_atlas.shape:
            raise InputError(f"support label: expected the shape of M_atlas {m_atlas.shape}, got {truth.shape}")
        box = working_box(m_atlas, m_fm, spacing, truth)
        if box is None:
            box = (slice(0, 1),) * 3
        # Copies: the caller may reuse its arrays, and the whole volumes must not stay alive.
        return cls(m_atlas[box].copy(), m_fm[box].copy(), truth[box].copy(), image[box].copy(), spacing)


class Fusion(ABC):
    """A learnt fusion of one label. It keeps what it learnt, no image and no label.

    Attributes
    ----------
    facts : dict
        JSON-ready: what was learnt, and how good it was on the support.
    """

    facts: dict[str, Any]

    def apply(self, m_atlas: np.ndarray, m_fm: np.ndarray, image: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
        """Fuse the two maps of a query.

        Where one of the maps is empty (nowhere at least `THRESHOLD`) the other one is the result; where both are, the
        result is empty. Nothing else is known about the query, in particular no label of it.

        Parameters
        ----------
        m_atlas, m_fm : numpy.ndarray, 3D
            Probabilities in [0, 1].
        image : numpy.ndarray, same shape
            Intensities of the query.
        spacing : three floats
            Voxel spacing in mm.

        Returns
        -------
        numpy.ndarray
            float32 in [0, 1], same shape.

        Raises
        ------
        InputError
            If shapes differ or an array is not finite.
        """
        m_atlas, m_fm, image, spacing = checked_maps(m_atlas, m_fm, image, spacing)
        has_atlas, has_fm = bool((m_atlas >= THRESHOLD).any()), bool((m_fm >= THRESHOLD).any())
        if has_atlas != has_fm:
            return (m_atlas if has_atlas else m_fm).copy()
        out = np.zeros(m_atlas.shape, dtype=np.float32)
        if has_atlas:
            box = working_box(m_atlas, m_fm, spacing)
            out[box] = np.clip(self._fuse(m_atlas[box], m_fm[box], image[box], spacing), 0.0, 1.0)
        return out

    @abstractmethod
    def _fuse(
        self, m_atlas: np.ndarray, m_fm: np.ndarray, image: np.ndarray, spacing: tuple[float, float, float]
    ) -> np.ndarray:
        """Fused probability on the crop; both maps claim at least one voxel."""


class ModelAlone(Fusion):
    """No fusion: the model's answer is the result, whatever the atlas says."""

    def __init__(self) -> None:
        self.facts = {"kind": "none"}

    def apply(self, m_atlas: np.ndarray, m_fm: np.ndarray, image: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
        """A copy of `m_fm`, float32."""
        return checked_maps(m_atlas, m_fm, image, spacing)[1].copy()

    def _fuse(
        self, m_atlas: np.ndarray, m_fm: np.ndarray, image: np.ndarray, spacing: tuple[float, float, float]
    ) -> np.ndarray:
        return m_fm


def checked_maps(
    m_atlas: np.ndarray, m_fm: np.ndarray, image: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float, float]]:
    """The same as float32, probabilities clipped to [0, 1]; shapes, finiteness and spacing checked."""
    arrays = []
    for name, array in (("M_atlas", m_atlas), ("M_fm", m_fm), ("image", image)):
        array = np.asarray(array)
        if array.ndim != 3 or array.shape != np.shape(m_atlas):
            raise InputError(f"fusion: expected {name} of the 3D shape {np.shape(m_atlas)}, got {array.shape}")
        array = array.astype(np.float32, copy=False)
        low, high = float(array.min()), float(array.max())
        if not np.isfinite(low + high):
            raise InputError(f"fusion: expected finite values in {name}, got NaN or infinity")
        clip = name != "image" and (low < 0.0 or high > 1.0)
        arrays.append(np.clip(array, 0.0, 1.0) if clip else array)
    size = tuple(float(s) for s in spacing)
    if len(size) != 3 or not min(size) > 0:
        raise InputError(f"fusion: expected three positive spacings in mm, got {size}")
    return *arrays, size


def working_box(
    m_atlas: np.ndarray, m_fm: np.ndarray, spacing: tuple[float, float, float], truth: np.ndarray | None = None
) -> Box | None:
    """Box around both masks (and the support's label, in training) plus the margin; None when all are empty."""
    union = (m_atlas > TINY) | (m_fm > TINY)
    if truth is not None:
        union |= truth
    margin = [max(MARGIN_VOXELS, int(np.ceil(MARGIN_MM / s))) for s in spacing]
    return bounding_box(union, margin)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Dice of two boolean arrays; 1 when both are empty."""
    total = int(np.count_nonzero(first)) + int(np.count_nonzero(second))
    return 2.0 * int(np.count_nonzero(first & second)) / total if total else 1.0


def inputs_dice(examples: Sequence[Example]) -> dict[str, float]:
    """Mean Dice of either map alone against the support's label."""
    return {
        "atlas": float(np.mean([dice(e.m_atlas >= THRESHOLD, e.truth) for e in examples])),
        "model": float(np.mean([dice(e.m_fm >= THRESHOLD, e.truth) for e in examples])),
    }


def fused_dice(fusion: Fusion, examples: Sequence[Example]) -> float:
    """Mean Dice of the fused maps against the support's label."""
    fused = [fusion.apply(e.m_atlas, e.m_fm, e.image, e.spacing) >= THRESHOLD for e in examples]
    return float(np.mean([dice(f, e.truth) for f, e in zip(fused, examples, strict=True)]))
