"""Which of many atlases are worth a full registration: those that look most like the query after an affine one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atlassegfm.atlas import Atlas
from atlassegfm.errors import RegistrationError
from atlassegfm.registration.result import RegistrationResult
from atlassegfm.volume import Volume

#: Aligns the moving image (second) with the fixed one by an affine map.
Align = Callable[[Volume, Volume], RegistrationResult]


@dataclass(frozen=True)
class Ranked:
    """One atlas's similarity to the query after an affine registration; None with the error where there is none."""

    similarity: float | None
    error: str = ""


def similarities(atlases: Sequence[Atlas], query: Volume, align: Align) -> list[Ranked]:
    """Align each atlas with the query and say how alike they have become.

    Parameters
    ----------
    atlases : sequence of Atlas
        Any number.
    query : Volume
        The scan to segment.
    align : callable
        The registration method "affine"; its score is compared (see `registration.linear`).
    """
    return [_similarity(atlas, query, align) for atlas in atlases]


def _similarity(atlas: Atlas, query: Volume, align: Align) -> Ranked:
    try:
        return Ranked(float(align(query, atlas.image).metrics["linear_score"]))
    except RegistrationError as error:
        return Ranked(None, str(error))


def best(ranked: Sequence[Ranked], count: int) -> list[int]:
    """Places of the `count` most similar atlases, best first; those that could not be aligned are left out."""
    usable = [n for n, found in enumerate(ranked) if found.similarity is not None]
    return sorted(usable, key=lambda n: -ranked[n].similarity)[:count]
