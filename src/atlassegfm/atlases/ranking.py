"""Which of many atlases are worth a full registration: those that can be brought to look most like the query."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from atlassegfm.atlas import Atlas
from atlassegfm.errors import RegistrationError
from atlassegfm.volume import Volume

#: How alike the second image can be made to the first, cheaply; higher is better.
Likeness = Callable[[Volume, Volume], float]


@dataclass(frozen=True)
class Ranked:
    """One atlas's likeness to the query; None with the error where they could not be aligned."""

    likeness: float | None
    error: str = ""


def ranked(atlases: Sequence[Atlas], query: Volume, likeness: Likeness) -> list[Ranked]:
    """The likeness of each atlas to the query, in the order given."""
    return [_ranked(atlas, query, likeness) for atlas in atlases]


def _ranked(atlas: Atlas, query: Volume, likeness: Likeness) -> Ranked:
    try:
        return Ranked(round(likeness(query, atlas.image), 5))
    except RegistrationError as error:
        return Ranked(None, str(error))


def best(found: Sequence[Ranked], count: int) -> list[int]:
    """Places of the `count` atlases that are most alike, best first; those that could not be aligned are left out."""
    usable = [n for n, one in enumerate(found) if one.likeness is not None]
    return sorted(usable, key=lambda n: -found[n].likeness)[:count]
