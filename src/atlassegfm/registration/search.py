"""The built-in registration on its way: working copies, starts, the choice among them, and what is bent from there."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from atlassegfm.errors import RegistrationError
from atlassegfm.registration.copies import scaled_copy
from atlassegfm.registration.deformable import Candidate, Deformed, register_deformable, try_candidates
from atlassegfm.registration.discrete import DiscreteSearch
from atlassegfm.registration.focus import Focus, refine
from atlassegfm.registration.grids import coarse_copies, working_copy
from atlassegfm.registration.initialise import PART_VOXELS, SCREENED, StartSearch
from atlassegfm.registration.linear import Fit, affine_candidates, distinct
from atlassegfm.registration.plans import STARTS, Plan
from atlassegfm.registration.result import Settings
from atlassegfm.registration.seat import Seat
from atlassegfm.registration.seats import find_seats
from atlassegfm.registration.steer import steered
from atlassegfm.registration.surroundings import Surroundings
from atlassegfm.registration.transform import Affine, Transform
from atlassegfm.resampling import warp_labels
from atlassegfm.runtime import side_by_side
from atlassegfm.volume import Volume

#: Voxels along the longest edge on the first linear level.
LINEAR_VOXELS = 40
#: Starts on the labels' surroundings that are fitted before they are chosen from.
AIMED_SCREENED = 6
#: Most voxels of a level whose features are taken; they are 50 bytes each, three times over.
MOST_FEATURES = 3_000_000


class Clock:
    """Wall seconds per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Book the time since the last stage."""
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def linear_candidates(
    search: StartSearch,
    settings: Settings,
    clock: Clock,
    *,
    dof: int,
    starts: int = STARTS,
    wide: bool = False,
) -> tuple[list[Fit], dict[str, Any]]:
    """Linear candidates from every start, best first, and facts for the report; see `StartSearch` for `wide`."""
    found = search.starts(starts, wide=wide)
    clock.lap("start")
    settings.progress("linear registration", 0.0)
    fits = affine_candidates(*coarse_copies(search.fixed, search.moving, LINEAR_VOXELS), found, dof=dof)
    clock.lap("linear")
    if not fits or found[0].score <= 0:
        raise RegistrationError(
            "no alignment of atlas and query was found: they look alike nowhere; do both show the same body part?"
        )
    return fits, {"start_score": found[0].score, "linear_score": fits[0].score, "candidates": len(fits)}


def narrow(focus: Focus | None, pair: tuple[Volume, Volume]) -> bool:
    """Whether there are labels, and their surroundings are but a part of their image."""
    return focus is not None and focus.labels is not None and focus.narrows(pair)


class Search:
    """The search for the alignment that the deformable step begins with, and the story of it for the report."""

    def __init__(self, fixed: Volume, moving: Volume, settings: Settings, plan: Plan, dof: int = 12) -> None:
        self.settings, self.grid, self.dof = settings, fixed.grid, dof
        self.clock, self.device = Clock(), torch.device(settings.device)
        self.plan = plan.suited(fixed, moving, settings.focus)
        #: Where the finest level is worked on; None: everywhere.
        self.within = settings.focus if self.plan.piece else None
        self.spacing = self.plan.spacing(fixed, moving)
        self.fixed, self.moving = side_by_side(lambda image: scaled_copy(image, self.spacing), (fixed, moving))
        self.knobs = self.plan.fitting(fixed, moving)
        #: Where the alignment matters more than elsewhere; None: nowhere, or the headers' positions are to be used.
        self.focus = settings.focus if dof and narrow(settings.focus, (self.fixed, self.moving)) else None
        self.levels = [self.copies(factor) for factor in self.knobs.factors]
        self.clock.lap("working copies")
        self.attempts: list[dict[str, Any]] = []

    @cached_property
    def starts(self) -> StartSearch:
        """Made when it is first asked for: the positions in the headers need none."""
        self.settings.progress("searching a start", 0.0)
        return StartSearch(self.fixed, self.moving)

    @cached_property
    def discrete(self) -> DiscreteSearch:
        """Search for large displacements on the coarsest level."""
        return self.discrete_on(0)

    def discrete_on(self, number: int) -> DiscreteSearch:
        """Search for displacements on a level; features come from the next finer one, if not too large."""
        finest = min(number + 1, len(self.levels) - 1)
        affordable = (n for n in range(finest, 0, -1) if self.levels[n][0].grid.size <= MOST_FEATURES)
        fine = self.levels[next(affordable, 0)]
        return DiscreteSearch(self.levels[number], fine, self.device, self.knobs.looks, self.knobs.looked)

    def copies(self, factor: int) -> tuple[Volume, Volume]:
        """Working copies with voxels of `factor` times the finest ones."""
        if factor == 1:
            return self.fixed, self.moving
        return tuple(side_by_side(lambda image: working_copy(image, self.spacing * factor), (self.fixed, self.moving)))

    def attempt(self, *, wide: bool = False) -> list[Candidate]:
        """Alignments from the usual or the wide starts, or from the positions in the headers alone; best first."""
        fits, facts = [Fit(np.eye(4), 0.0)], {}
        if self.dof:
            starts = SCREENED if self.focus else self.plan.starts
            fits, facts = linear_candidates(
                self.starts, self.settings, self.clock, dof=self.dof, starts=starts, wide=wide
            )
        if self.focus:
            fits = self._focused([fit.matrix for fit in fits], self.plan.starts)
            if not wide:
                fits += self._aimed(fits)
            self.clock.lap("focus")
        self.settings.progress("deformable registration", 0.0)
        candidates = try_candidates(*self.levels[0], fits, self.knobs, self.device, self.discrete)
        if self.focus:
            candidates = self._by_labels(candidates)
        best = candidates[0]
        starts = "headers" if self.dof == 0 else "wide" if wide else "usual"
        scores = [round(c.rank, 5) for c in candidates]
        if self.focus:
            facts["unlike"] = [round(c.unlike, 5) for c in candidates]
        self.attempts.append(
            {
                "starts": starts,
                "apart_percent": round(100 * best.apart, 3),
                "doubts": best.doubts,
                **facts,
                "candidate_scores": scores,
            }
        )
        self.clock.lap("candidates")
        return candidates

    def found(self) -> list[Candidate]:
        """The first attempt, or where that one does not convince, the better of it and one from wide starts."""
        first = self.attempt()
        if not self.dof or (first[0].convincing and not self.starts.turned_fits_better):
            return first
        return max((first, self.attempt(wide=True)), key=lambda candidates: candidates[0].rank)

    def _focused(self, matrices: Sequence[np.ndarray], keep: int) -> list[Fit]:
        """Alignments that were moved to fit the surroundings of the labels; the best of them, best first."""
        fits = refine(matrices, (self.fixed, self.moving), self.focus)
        return sorted(fits, key=lambda fit: -fit.score)[:keep]

    def _aimed(self, others: Sequence[Fit]) -> list[Fit]:
        """Alignments that were searched for on the surroundings of the labels alone and differ from `others`.

        Of a query that shows but half of what the atlas does, the images as wholes may have nothing right to propose.
        """
        if not self.plan.aimed:
            return []
        starts = StartSearch(*self.focus.parts((self.fixed, self.moving)), PART_VOXELS).starts(AIMED_SCREENED)
        found = self._focused([start.matrix for start in starts], len(starts))
        return distinct(self.fixed.grid, [*others, *found])[len(others) :][: self.plan.aimed]

    def _by_labels(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The same, each told how unlike the labels' surroundings are under it; best first."""
        around, grid = Surroundings.of_focus((self.fixed, self.moving), self.focus, self.device), self.levels[0][0].grid
        unlike = side_by_side(lambda c: around.unlikeness_of(c.matrix, c.displacement, grid), candidates)
        told = [replace(c, unlike=value) for c, value in zip(candidates, unlike, strict=True)]
        return sorted(told, key=lambda candidate: -candidate.rank)

    def bent(self, start: Candidate) -> Deformed:
        """The deformable step from the best start."""
        tick = partial(self.settings.progress, "deformable registration")
        out = register_deformable(self.levels, start, self.knobs, self.device, self.discrete_on, tick, self.within)
        self.clock.lap("deformable")
        return out

    def steered(self, start: Candidate, bent: Deformed) -> tuple[Deformed, dict[str, Any]]:
        """The same steered towards labels that were found elsewhere, and the story of it; see `steer`.

        The levels are gone through once more from there. Where the images do not come closer by that, nothing is
        changed. The labels have to be the moving image's: nobody knows where those of the fixed one were carried.
        """
        focus = self.settings.focus
        if not self.plan.seats or focus is None or focus.labels is None or focus.on_fixed:
            return bent, {}
        forward = Transform((bent.field, Affine(start.matrix)))
        carried = warp_labels(focus.labels, self.grid, forward)
        tick = partial(self.settings.progress, "looking for each label")
        seats = find_seats(focus.labels, carried, (self.fixed, self.moving), forward, self.device, tick)
        self.clock.lap("seats")
        out = self._through_seats(start, forward, seats) if seats else bent
        closer = max(out.history[-1]) > max(bent.history[-1])
        facts = {"seats": {str(v): seat.facts for v, seat in seats.items()}, "steered": bool(closer)}
        return out if closer else bent, facts

    def _through_seats(self, start: Candidate, forward: Transform, seats: Mapping[int, Seat]) -> Deformed:
        """The registration steered towards the seats, and the levels after the coarsest one from there."""
        # One that goes both ways, and fine enough for the seats: the second, where it is not the last.
        first = max(0, min(1, len(self.levels) - 2))
        levels = [first, *range(first, len(self.levels))]
        pairs = [self.levels[n] for n in levels]
        u = steered(forward, seats, self.settings.focus.labels, pairs[0][0].grid, self.device)
        tick = partial(self.settings.progress, "deformable registration, steered")
        begun = replace(start, displacement=u)
        # What a search would find was found for the labels, and other organs have been searched for before.
        out = register_deformable(pairs, begun, self.knobs.of(levels), self.device, None, tick, self.within)
        self.clock.lap("deformable, steered")
        return out
