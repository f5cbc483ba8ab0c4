"""Step 4: one probability map out of two, the warped atlas label M_atlas and the foundation model's answer M_fm.

What is learnt is learnt from the support (the atlas scan, whose label is known). **No function here has an argument
through which a label of the query could come**: `Fusion.apply` takes two probability maps, the image, its spacing, and
what the atlas shows, its label and image as they were carried over.

Kinds: ``kalman`` (Eq. 4-5 of the paper, arXiv 2512.18176, with the learning rate and the safeguards that measure
best), ``kalman-paper`` (the same with the paper's learning rate and nothing added), ``gate`` (a small convolutional
gate, after the authors' later code), ``none`` (the model alone). ``kalman`` and ``gate`` end by drawing the fused map
to the edges of the query's image (`edges`) and to what look-alike places of the atlas are (`lookalikes`). This module
is light; what computes is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from atlassegfm.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from atlassegfm.fusion.base import Example, Fusion

FUSIONS = ("kalman", "gate", "kalman-paper", "none")
#: Those that look at what the carried atlas shows.
LOOKING = ("kalman", "gate")

__all__ = ["FUSIONS", "LOOKING", "fit", "fit_many"]


def fit(
    kind: str,
    m_atlas: np.ndarray,
    m_fm: np.ndarray,
    truth: np.ndarray,
    image: np.ndarray,
    spacing: Sequence[float],
    seed: int = 0,
) -> Fusion:
    """Learn the fusion of one label from one example on the support.

    Parameters
    ----------
    kind : {"kalman", "gate", "kalman-paper", "none"}
        Kind of fusion, a name out of `FUSIONS`.
    m_atlas, m_fm : numpy.ndarray, 3D
        Probabilities in [0, 1] on the support's grid, as imperfect as they are on a query.
    truth : numpy.ndarray of bool, same shape
        The label on the support.
    image : numpy.ndarray, same shape
        Intensities of the support.
    spacing : three floats
        Voxel spacing in mm.
    seed : int
        The same seed gives the same fusion.

    Returns
    -------
    Fusion
        Apply it to the query with ``apply(m_atlas, m_fm, image, spacing)``.

    Raises
    ------
    InputError
        If the kind is unknown, shapes differ, or an array is not finite.
    """
    from atlassegfm.fusion.base import Example

    return fit_many(kind, [Example.checked(m_atlas, m_fm, truth, image, spacing)], seed)


def fit_many(kind: str, examples: Sequence[Example], seed: int = 0) -> Fusion:
    """Learn the fusion of one label from several examples on the support, each counting the same.

    Parameters
    ----------
    kind, seed
        As in `fit`.
    examples : sequence of Example
        For example one from the round trip through the query and some from synthetic deformations of the support.
    """
    if kind not in FUSIONS:
        raise InputError(f"unknown fusion {kind!r}: choose one of {', '.join(FUSIONS)}")
    if kind == "none":
        from atlassegfm.fusion.base import ModelAlone

        return ModelAlone()
    if kind == "gate":
        from atlassegfm.fusion.gate import fit_gate

        return fit_gate(examples, seed)
    from atlassegfm.fusion.kalman import fit_kalman

    return fit_kalman(examples, seed, kind)
