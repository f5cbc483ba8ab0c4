"""Several atlases carried to one query and voted into one prior; those that fail are left out, and it is said why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from atlassegfm.atlas import Atlas
from atlassegfm.atlases import LABEL_FUSIONS, MOST_ATLASES
from atlassegfm.atlases.agreement import pairwise_agreement
from atlassegfm.atlases.label_fusion import fused_labels
from atlassegfm.atlases.outliers import outliers
from atlassegfm.atlases.ranking import Likeness, best, ranked
from atlassegfm.atlases.warped import (
    Box,
    Memberships,
    WarpedAtlas,
    carried_memberships,
    common_part,
    labels_of,
    warp_atlas,
)
from atlassegfm.competition import LabelCompetition, smallest_label_type
from atlassegfm.errors import RegistrationError
from atlassegfm.registration.result import Progress, RegistrationResult
from atlassegfm.resampling import resample_image
from atlassegfm.volume import Volume

#: Weights grow with this power of an atlas's agreement with the others, which is taken to be no less than the least.
TRUST, LEAST_AGREEMENT = 4.0, 0.1
#: Registers an atlas with the query; what that is called while it goes on.
Register = Callable[[Atlas, str], RegistrationResult]


@dataclass(frozen=True)
class VoteSettings:
    """How several atlases are brought together.

    Parameters
    ----------
    most : int
        How many are registered at most; of more, those that look most like the query.
    label_fusion : str
        A name out of `atlases.LABEL_FUSIONS`.
    teach : bool
        Whether a model will learn, so that a lesson is needed.
    """

    most: int = MOST_ATLASES
    label_fusion: str = LABEL_FUSIONS[0]
    teach: bool = True


@dataclass(eq=False)
class Candidate:
    """One atlas on its way: what is known of it so far, for the vote and for the report."""

    number: int
    atlas: Atlas
    likeness: float | None = None
    chosen: bool = True
    left_out: str = ""
    forward: RegistrationResult | None = None
    memberships: Memberships = field(default_factory=dict)
    warped: WarpedAtlas | None = None
    agreement: float | None = None
    weight: float | None = None

    def entry(self, *, support: bool) -> dict[str, Any]:
        """JSON-ready, for the report."""
        facts = {
            "atlas": self.number,
            "used": not self.left_out,
            "left_out": self.left_out or None,
            "likeness": self.likeness,
            "agreement": self.agreement,
            "weight": self.weight,
            "taught_the_model": support,
        }
        return facts | ({} if self.forward is None else {"registration": self.forward.metrics})


@dataclass(frozen=True, eq=False)
class Carried:
    """The labels of several atlases on a query, as one.

    Parameters
    ----------
    support : Candidate
        The atlas that model and fusion learn from: of those with the most labels the one that agrees best with the
        others.
    used : tuple of Candidate
        The atlases that had a vote, `support` first, the others by their agreement.
    prior : Volume
        Fused label map on the query's grid.
    lesson : Volume
        The same without the vote of `support`: what other people's atlases make of it. `prior` where there is none.
    moved : Volume
        Image of `support` on the query's grid.
    facts : dict
        JSON-ready: an entry per atlas, and how well they agree on each label.
    warnings : list of str
        What the user should know.
    """

    support: Candidate
    used: tuple[Candidate, ...]
    prior: Volume
    lesson: Volume
    moved: Volume
    facts: dict[str, Any]
    warnings: list[str]


def carry(
    atlases: Sequence[Atlas],
    query: Volume,
    register: Register,
    likeness: Likeness,
    settings: VoteSettings,
    progress: Progress,
) -> Carried:
    """Choose atlases, register them, leave out what failed, vote.

    Parameters
    ----------
    atlases : sequence of Atlas
        Two or more; their order decides nothing but their numbers.
    query : Volume
        The scan to segment.
    register : callable
        Registers two images; may keep what it found.
    likeness : callable
        How alike an atlas's image can be made to the query's, cheaply; asked only when a choice has to be made.
    settings : VoteSettings
        How many take part, and how they vote.
    progress : callable
        Told (step, finished fraction).

    Raises
    ------
    RegistrationError
        If no atlas could be aligned with the query.
    """
    candidates = [Candidate(number + 1, atlas) for number, atlas in enumerate(atlases)]
    # In an order of their own, so that sums and ties come out the same in whatever order they are given.
    ordered = sorted(candidates, key=lambda c: (c.atlas.image.digest(), c.atlas.labels.digest()))
    chosen = _chosen(ordered, query, likeness, settings.most, progress)
    for place, candidate in enumerate(chosen):
        progress(f"registration of atlas {candidate.number}", place / len(chosen))
        _register(candidate, query, register)
    used = _without_doubtful([c for c in chosen if not c.left_out])
    if not used:
        reasons = "; ".join(f"atlas {c.number}: {c.left_out}" for c in candidates if c.left_out)
        raise RegistrationError(f"none of the {len(atlases)} atlases could be used: {reasons}")
    progress("label fusion", 0.0)
    part = common_part([c.memberships for c in used], query.grid)
    for candidate in used:
        transform = candidate.forward.transform
        candidate.warped = warp_atlas(candidate.atlas, candidate.memberships, query.grid, part, transform)
    return _voted(candidates, _without_outliers(used), query, part, settings)


def _chosen(
    candidates: list[Candidate], query: Volume, likeness: Likeness, most: int, progress: Progress
) -> list[Candidate]:
    """Those that are registered: all, or those most alike."""
    if len(candidates) <= most:
        return candidates
    progress("choosing atlases", 0.0)
    found = ranked([c.atlas for c in candidates], query, likeness)
    for candidate, one in zip(candidates, found, strict=True):
        candidate.likeness = one.likeness
        candidate.chosen = bool(one.error)
        candidate.left_out = one.error or f"{most} others look more like the query"
    chosen = [candidates[n] for n in best(found, most)]
    for candidate in chosen:
        candidate.chosen, candidate.left_out = True, ""
    return chosen


def _register(candidate: Candidate, query: Volume, register: Register) -> None:
    """Align one atlas; what fails is noted and left out."""
    try:
        candidate.forward = register(candidate.atlas, f"registration of atlas {candidate.number}")
    except RegistrationError as error:
        candidate.left_out = f"could not be registered: {error}"
        return
    candidate.memberships = carried_memberships(candidate.atlas, query.grid, candidate.forward.transform)
    if not candidate.memberships:
        candidate.left_out = "none of its labels comes to lie on the query"


def _without_doubtful(candidates: list[Candidate]) -> list[Candidate]:
    """Without those whose registration looks wrong, unless it does for all."""
    sound = [c for c in candidates if not c.forward.metrics.get("doubts")]
    for candidate in candidates if sound else ():
        if candidate not in sound:
            candidate.left_out = f"its registration looks wrong: {'; '.join(candidate.forward.metrics['doubts'])}"
    return sound or candidates


def _without_outliers(used: list[Candidate]) -> list[Candidate]:
    """Without those whose labels lie where no other's do."""
    left, scores = outliers([c.warped for c in used])
    for candidate, score in zip(used, scores, strict=True):
        candidate.agreement = round(score, 4)
    for place in left:
        used[place].left_out = f"its labels agree with those of the other atlases by a Dice of {scores[place]:.2f} only"
    return [c for c in used if not c.left_out]


def _voted(
    candidates: list[Candidate], used: list[Candidate], query: Volume, part: Box, settings: VoteSettings
) -> Carried:
    """Fuse the labels of those that are left and put together what is known."""
    support = max(used, key=lambda c: (len(c.memberships), c.agreement))
    prior, weights = _fused(used, query, part, settings.label_fusion)
    for candidate, weight in zip(used, weights, strict=True):
        candidate.weight = round(weight, 4)
    others = [c for c in used if c is not support]
    lesson = _fused(others, query, part, settings.label_fusion)[0] if others and settings.teach else prior
    agreement = pairwise_agreement([c.warped for c in used])
    facts = {
        "label_fusion": settings.label_fusion,
        "list": [c.entry(support=c is support) for c in candidates],
        "agreement": {str(value): round(found, 4) for value, found in agreement.items()},
    }
    warnings = [f"atlas {c.number} is left out: {c.left_out}" for c in candidates if c.left_out and c.chosen]
    warnings += support.forward.warnings
    moved = resample_image(support.atlas.image, query.grid, support.forward.transform)
    order = [support, *sorted(others, key=lambda c: -c.agreement)]
    for candidate in used:
        # The largest things in memory, which nobody needs any more.
        candidate.warped = None
    return Carried(support, tuple(order), prior, lesson, moved, facts, warnings)


def _fused(used: list[Candidate], query: Volume, part: Box, label_fusion: str) -> tuple[Volume, list[float]]:
    """Label map on the query's grid from the vote, and the weights of the atlases."""
    warped = [c.warped for c in used]
    piece = Volume(query.data[part], query.grid.cropped(part))
    trust = [max(c.agreement, LEAST_AGREEMENT) ** TRUST for c in used]
    votes, weights = fused_labels(label_fusion, piece, warped, trust, query.grid)
    competition = LabelCompetition(piece.grid.shape, smallest_label_type(max(labels_of(warped))))
    for value, box, probability in votes:
        competition.add(value, probability, box)
    data = np.zeros(query.grid.shape, dtype=smallest_label_type(max(labels_of(warped))))
    data[part] = competition.result()
    return Volume(data, query.grid), weights
