"""What every fusion shares: its input, the cases in which there is nothing to fuse, and the crop it works on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from atlassegfm.errors import InputError
from atlassegfm.fusion.edges import follow_edges
from atlassegfm.fusion.lookalikes import follow_lookalikes
from atlassegfm.fusion.soft import is_hard, settled, soft_maps
from atlassegfm.overlap import dice
from atlassegfm.volume import bounding_box

#: A map that nowhere reaches this is empty: it claims no voxel.
THRESHOLD = 0.5
#: Probabilities below this are taken as zero where the crop is chosen.
TINY = 0.01
#: The crop reaches this far beyond both masks, in mm, and never less than MARGIN_VOXELS.
MARGIN_MM = 10.0
MARGIN_VOXELS = 4
#: A model has lost the label when, compared with the support, its volume relative to M_atlas is this many times off,
#: or its Dice with M_atlas this many times lower (docs/decisions/0005-fusion.md).
LOST_TIMES = 3.0
DISAGREEMENT_TIMES = 1.4

Box = tuple[slice, slice, slice]
#: A label, 0 to 1, and the image that it was drawn on.
Shown = tuple[np.ndarray, np.ndarray]


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

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(a.nbytes for a in (self.m_atlas, self.m_fm, self.truth, self.image))

    def softened(self, tau_mm: float | None) -> Example:
        """The same lesson with soft maps, see `soft_maps`."""
        m_atlas, m_fm = soft_maps(self.m_atlas, self.m_fm, self.spacing, tau_mm)
        return replace(self, m_atlas=m_atlas, m_fm=m_fm)


@dataclass(frozen=True)
class Habit:
    """How the model's mask relates to the atlas's where all is well: on the support.

    A model that answers well on the atlas can still fail on the query, and what was learnt would follow it there. Both
    quantities can be seen without a label.

    Parameters
    ----------
    ratio : float
        Volume of M_fm over that of M_atlas.
    agreement : float
        Dice of the two.
    """

    ratio: float
    agreement: float

    @classmethod
    def of(cls, examples: Sequence[Example]) -> Habit | None:
        """Geometric means over the lessons; None where the masks miss each other in any of them."""
        masks = [(e.m_atlas >= THRESHOLD, e.m_fm >= THRESHOLD) for e in examples]
        if not masks or not all((a & f).any() for a, f in masks):
            return None
        ratio = np.mean([np.log(np.count_nonzero(f) / np.count_nonzero(a)) for a, f in masks])
        return cls(float(np.exp(ratio)), float(np.exp(np.mean([np.log(dice(a, f)) for a, f in masks]))))

    def lost(self, m_atlas: np.ndarray, m_fm: np.ndarray) -> bool:
        """Whether volume or agreement of two masks, neither empty, is off by `LOST_TIMES`, `DISAGREEMENT_TIMES`."""
        ratio = np.count_nonzero(m_fm) / np.count_nonzero(m_atlas) / self.ratio
        return max(ratio, 1.0 / ratio) > LOST_TIMES or dice(m_atlas, m_fm) * DISAGREEMENT_TIMES < self.agreement


class Fusion(ABC):
    """A learnt fusion of one label. It keeps what it learnt, no image and no label.

    Attributes
    ----------
    facts : dict
        JSON-ready: what was learnt, and how good it was on the support.
    tau_mm : float or None
        Width of the soft band that the maps get before they are fused; None takes them as they come.
    habit : Habit or None
        How both maps relate on the support; None switches the guard against a lost label off.
    edges : bool
        Whether the fused map is drawn towards the edges of the image in the end (`edges.follow_edges`).
    """

    facts: dict[str, Any]
    tau_mm: float | None = None
    habit: Habit | None = None
    edges: bool = False

    def apply(
        self,
        m_atlas: np.ndarray,
        m_fm: np.ndarray,
        image: np.ndarray,
        spacing: Sequence[float],
        shown: Sequence[Shown] = (),
    ) -> np.ndarray:
        """Fuse the two maps of a query.

        Where one of the maps is empty (nowhere at least `THRESHOLD`) the other one's contour is the result; where both
        are, the result is empty. Where the model has lost the label (`Habit.lost`), the contour of M_atlas is the
        result. What was made of contours is a contour (`soft.settled`), what comes from the model's probability stays
        one, and both are drawn towards the image's edges if `edges` says so. What look-alike places of the atlas say
        has a share (`lookalikes.follow_lookalikes`), except in the paper's own fusion. Nothing else is known about the
        query, in particular no label of it.

        Parameters
        ----------
        m_atlas, m_fm : numpy.ndarray, 3D
            Probabilities in [0, 1].
        image : numpy.ndarray, same shape
            Intensities of the query.
        spacing : three floats
            Voxel spacing in mm.
        shown : sequence of (numpy.ndarray, numpy.ndarray), same shape
            Examples of the label that lie on the query, each the label, 0 to 1, and the intensities it was drawn on:
            the atlas as it was carried over, for one. Without any nothing is compared.

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
        claims_atlas, claims_fm = m_atlas >= THRESHOLD, m_fm >= THRESHOLD
        if not claims_atlas.any() and not claims_fm.any():
            return np.zeros(m_atlas.shape, dtype=np.float32)
        if not claims_atlas.any():
            return m_fm.copy()
        if not claims_fm.any() or (self.habit is not None and self.habit.lost(claims_atlas, claims_fm)):
            return claims_atlas.astype(np.float32)
        out = np.zeros(m_atlas.shape, dtype=np.float32)
        box = working_box(m_atlas, m_fm, spacing)
        maps = soft_maps(m_atlas[box], m_fm[box], spacing, self.tau_mm)
        fused, gain = self._fuse(*maps, image[box], spacing)
        fused = np.clip(fused, 0.0, 1.0)
        if self.tau_mm is not None:
            # Where the atlas weighs more than the model, or the model gave a bare mask, contours have decided.
            share = 1.0 if is_hard(m_fm[box]) else np.clip(2.0 * gain - 1.0, 0.0, 1.0)
            fused = settled(fused, share)
        out[box] = follow_edges(fused, image[box], spacing) if self.edges else fused
        for label, there in () if self.tau_mm is None else shown:
            label, there = (checked_image("warped atlas", array, out.shape) for array in (label, there))
            out = follow_lookalikes(out, label, image, there, spacing)
        return out

    @abstractmethod
    def _fuse(
        self, m_atlas: np.ndarray, m_fm: np.ndarray, image: np.ndarray, spacing: tuple[float, float, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Fused probability on the crop, from soft maps of which each claims at least one voxel; and the gain.

        The gain is the weight of the atlas, 0 to 1, shape of the maps.
        """


class ModelAlone(Fusion):
    """No fusion: the model's answer is the result, whatever the atlas says."""

    def __init__(self) -> None:
        self.facts = {"kind": "none", "learnable_parameters": 0}

    def apply(
        self,
        m_atlas: np.ndarray,
        m_fm: np.ndarray,
        image: np.ndarray,
        spacing: Sequence[float],
        shown: Sequence[Shown] = (),
    ) -> np.ndarray:
        """A copy of `m_fm`, float32."""
        return checked_maps(m_atlas, m_fm, image, spacing)[1].copy()

    def _fuse(
        self, m_atlas: np.ndarray, m_fm: np.ndarray, image: np.ndarray, spacing: tuple[float, float, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        return m_fm, np.zeros_like(m_fm)


def checked_maps(
    m_atlas: np.ndarray, m_fm: np.ndarray, image: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float, float]]:
    """The same as float32, probabilities clipped to [0, 1]; shapes, finiteness and spacing checked."""
    arrays = []
    for name, array in (("M_atlas", m_atlas), ("M_fm", m_fm), ("image", image)):
        array = checked_image(name, array, np.shape(m_atlas))
        clip = name != "image" and (array.min() < 0.0 or array.max() > 1.0)
        arrays.append(np.clip(array, 0.0, 1.0) if clip else array)
    size = tuple(float(s) for s in spacing)
    if len(size) != 3 or not min(size) > 0:
        raise InputError(f"fusion: expected three positive spacings in mm, got {size}")
    return *arrays, size


def checked_image(name: str, array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array of that 3D shape as float32; `name` is what an error calls it."""
    array = np.asarray(array)
    if array.ndim != 3 or array.shape != shape:
        raise InputError(f"fusion: expected {name} of the 3D shape {shape}, got {array.shape}")
    array = array.astype(np.float32, copy=False)
    if not np.isfinite(float(array.min()) + float(array.max())):
        raise InputError(f"fusion: expected finite values in {name}, got NaN or infinity")
    return array


def working_box(
    m_atlas: np.ndarray, m_fm: np.ndarray, spacing: tuple[float, float, float], truth: np.ndarray | None = None
) -> Box | None:
    """Box around both masks (and the support's label, in training) plus the margin; None when all are empty."""
    union = (m_atlas > TINY) | (m_fm > TINY)
    if truth is not None:
        union |= truth
    margin = [max(MARGIN_VOXELS, int(np.ceil(MARGIN_MM / s))) for s in spacing]
    return bounding_box(union, margin)


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


def edges_gain(fusion: Fusion, examples: Sequence[Example]) -> float:
    """Mean Dice won on the support by drawing the fused maps to the image's edges (`edges.follow_edges`)."""
    gains = []
    for e in examples:
        fused = fusion.apply(e.m_atlas, e.m_fm, e.image, e.spacing)
        drawn = follow_edges(fused, e.image, e.spacing)
        gains.append(dice(drawn >= THRESHOLD, e.truth) - dice(fused >= THRESHOLD, e.truth))
    return float(np.mean(gains))
