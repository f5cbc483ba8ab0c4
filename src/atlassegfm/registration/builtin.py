"""Our own registration: a global start, rigid, affine, greedy diffeomorphic refinement. Runs on CPU and CUDA.

Every length is chosen in mm from the fields of view, so that a mouse brain and a whole abdomen take the same path.
"""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch

from atlassegfm.errors import RegistrationError
from atlassegfm.registration.copies import TARGET_VOXELS, scaled_copy, working_spacing
from atlassegfm.registration.deformable import Candidate, register_deformable, try_candidates
from atlassegfm.registration.discrete import DiscreteSearch
from atlassegfm.registration.focus import refine
from atlassegfm.registration.grids import coarse_copies, working_copy
from atlassegfm.registration.initialise import StartSearch
from atlassegfm.registration.level import DeformableSettings
from atlassegfm.registration.linear import Fit, LinearProblem, affine_candidates, optimise
from atlassegfm.registration.options import OwnOptions
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.registration.transform import Affine, Transform
from atlassegfm.runtime import one_thread
from atlassegfm.volume import Volume

#: Voxels along the longest edge on the two linear levels.
LINEAR_VOXELS = (40, 64)
#: Images of fewer voxels are registered on one thread: several take as long, and more of the cores' time.
WORTH_THREADS = 200_000
#: Starts refined by the linear step of the rigid and affine methods.
STARTS = 4
#: A finest level is made coarser for speed as long as it keeps so many voxels.
FEWEST_VOXELS = 250_000
#: What the distance of the maps there and back counts beside the LNCC in `likeness`.
LIKENESS_APART = 5.0
#: Most voxels of a level whose features are taken; they are 50 bytes each, three times over.
MOST_FEATURES = 3_000_000
#: Fewest voxels along the shortest edge of a deformable level; coarser levels are left out.
MIN_LEVEL_VOXELS = 10


@dataclass(frozen=True)
class Plan:
    """How much work the deformable method puts in.

    Parameters
    ----------
    starts : int
        Starts refined by the linear step and tried on the coarsest level.
    knobs : DeformableSettings
        Levels and their iterations.
    coarser : float
        Voxel size of the finest level relative to the finest working copies, as long as that leaves `FEWEST_VOXELS`.
    most : int
        Most voxels of the finest working copies.
    narrow : Plan, optional
        What takes this one's place where the labels fill but a part of their image (`Focus.narrows`); its finest level
        is worked on around them alone.
    """

    starts: int
    knobs: DeformableSettings
    coarser: float = 1.0
    most: int = TARGET_VOXELS
    narrow: Plan | None = None

    def spacing(self, fixed: Volume, moving: Volume) -> float:
        """Voxel size of the finest level in mm."""
        finest = working_spacing(fixed, moving, self.most)
        return min(self.coarser * finest, working_spacing(fixed, moving, FEWEST_VOXELS))


_KNOBS = DeformableSettings(iterations=(100, 60, 15), edges=(0.0, 0.5, 0.5))
#: By quality; measured in docs/decisions/0002-registration.md.
PLANS = {
    "fast": Plan(
        2,
        DeformableSettings((2, 1), (100, 30), edges=(0.5, 0.5)),
        coarser=2.0,
        narrow=Plan(2, DeformableSettings((3, 1), (60, 20), edges=(0.5, 0.5)), coarser=1.3),
    ),
    "default": Plan(STARTS, _KNOBS),
    "best": Plan(STARTS, replace(_KNOBS, iterations=(100, 60, 40)), most=TARGET_VOXELS * 5 // 4),
}


class _Clock:
    """Wall seconds per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def _linear(
    search: StartSearch,
    settings: Settings,
    clock: _Clock,
    *,
    dof: int,
    starts: int = STARTS,
    wide: bool = False,
) -> tuple[list[Fit], dict[str, Any]]:
    """Linear candidates from every start, best first, and facts for the report; see `StartSearch` for `wide`."""
    found = search.starts(starts, wide=wide)
    clock.lap("start")
    settings.progress("linear registration", 0.0)
    fits = affine_candidates(*coarse_copies(search.fixed, search.moving, LINEAR_VOXELS[0]), found, dof=dof)
    clock.lap("linear")
    if not fits or found[0].score <= 0:
        raise RegistrationError(
            "no alignment of atlas and query was found: they look alike nowhere; do both show the same body part?"
        )
    return fits, {"start_score": found[0].score, "linear_score": fits[0].score, "candidates": len(fits)}


def _linear_only(fixed: Volume, moving: Volume, settings: Settings, dof: int) -> RegistrationResult:
    clock = _Clock()
    spacing = working_spacing(fixed, moving)
    fixed, moving = scaled_copy(fixed, spacing), scaled_copy(moving, spacing)
    clock.lap("working copies")
    settings.progress("searching a start", 0.0)
    fits, facts = _linear(StartSearch(fixed, moving), settings, clock, dof=dof)
    problem = LinearProblem(*coarse_copies(fixed, moving, LINEAR_VOXELS[1]))
    fit = max((optimise(problem, f.matrix, dof) for f in fits[:2]), key=lambda f: f.score)
    clock.lap("linear, fine")
    facts |= {"linear_score": fit.score, "matrix": fit.matrix.tolist()}
    return RegistrationResult(Transform((Affine(fit.matrix),)), facts, clock.seconds)


def identity(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """No registration: the positions in the headers are taken as they are."""
    return RegistrationResult(Transform((Affine(np.eye(4)),)))


def rigid(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """Rigid registration from any start; see `initialise.StartSearch` and `linear.optimise`."""
    return _linear_only(fixed, moving, settings, dof=6)


def affine(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """Rigid, then affine registration from any start; see `initialise.StartSearch` and `linear.optimise`."""
    return _linear_only(fixed, moving, settings, dof=12)


class _Search:
    """The search for the alignment that the deformable step begins with, and the story of it for the report."""

    def __init__(self, fixed: Volume, moving: Volume, settings: Settings, plan: Plan) -> None:
        self.settings = settings
        self.clock, self.device = _Clock(), torch.device(settings.device)
        narrows = plan.narrow is not None and settings.focus is not None and settings.focus.narrows((fixed, moving))
        self.plan = plan.narrow if narrows else plan
        #: Where the finest level is worked on; None: everywhere.
        self.within = settings.focus if narrows else None
        self.spacing = self.plan.spacing(fixed, moving)
        self.fixed, self.moving = scaled_copy(fixed, self.spacing), scaled_copy(moving, self.spacing)
        self.knobs = _fitting_levels(self.plan.knobs, fixed, moving, self.spacing)
        self.levels = [self.copies(factor) for factor in self.knobs.factors]
        self.coarsest = self.levels[0]
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
        return DiscreteSearch(self.levels[number], self.levels[next(affordable, 0)], self.device)

    def copies(self, factor: int) -> tuple[Volume, Volume]:
        """Working copies with voxels of `factor` times the finest ones."""
        if factor == 1:
            return self.fixed, self.moving
        return tuple(working_copy(image, self.spacing * factor) for image in (self.fixed, self.moving))

    def attempt(self, dof: int, *, wide: bool = False) -> list[Candidate]:
        """Alignments from the usual or the wide starts, best first; ``dof=0``: the positions in the headers alone."""
        fits, facts = [Fit(np.eye(4), 0.0)], {}
        if dof:
            fits, facts = _linear(self.starts, self.settings, self.clock, dof=dof, starts=self.plan.starts, wide=wide)
        self.settings.progress("deformable registration", 0.0)
        candidates = try_candidates(*self.coarsest, fits, self.knobs, self.device, self.discrete)
        best = candidates[0]
        starts = "headers" if dof == 0 else "wide" if wide else "usual"
        scores = [round(c.rank, 5) for c in candidates]
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

    def found(self, dof: int) -> list[Candidate]:
        """The first attempt, or where that one does not convince, the better of it and one from wide starts."""
        first = self.attempt(dof)
        if not dof or (first[0].convincing and not self.starts.turned_fits_better):
            return first
        return max((first, self.attempt(dof, wide=True)), key=lambda candidates: candidates[0].rank)

    def focused(self, candidates: list[Candidate], dof: int) -> Candidate:
        """The best of the candidates once they are refined on the surroundings of the labels."""
        focus, pair = self.settings.focus, (self.fixed, self.moving)
        if focus is None or not dof or not focus.narrows(pair):
            return candidates[0]
        fits = refine([c.matrix for c in candidates], pair, focus)
        best = try_candidates(*self.coarsest, fits, self.knobs, self.device, self.discrete)[0]
        self.clock.lap("focus")
        return best


def deformable(fixed: Volume, moving: Volume, settings: Settings, *, dof: int = 12) -> RegistrationResult:
    """Default method: affine from any start, then greedy diffeomorphic LNCC.

    An alignment that does not convince (see `deformable.Candidate`) is tried again from starts turned by right angles;
    what is doubtful even then comes back with a warning.

    Parameters
    ----------
    fixed, moving : Volume
        Images with raw intensities.
    settings : Settings
        Device, progress and the quality (`options.OwnOptions`); nothing here is random.
    dof : {12, 6, 0}
        Alignment before it: affine, rigid, none.

    Returns
    -------
    RegistrationResult
        Displacement on the working grid of `fixed`, followed by the affine matrix.

    Raises
    ------
    RegistrationError
        If the images look alike nowhere.
    """
    small = max(fixed.grid.size, moving.grid.size) < WORTH_THREADS
    with one_thread() if small else nullcontext():
        return _deformable(fixed, moving, settings, dof)


def _deformable(fixed: Volume, moving: Volume, settings: Settings, dof: int) -> RegistrationResult:
    search = _Search(fixed, moving, settings, PLANS[OwnOptions(**settings.options).quality])
    candidates = search.found(dof)
    best = candidates[0]
    if not best.score > 0:
        raise RegistrationError("atlas and query look alike nowhere in the place that the alignment gives them")
    start = search.focused(candidates, dof)
    tick = partial(settings.progress, "deformable registration")
    bent = register_deformable(
        search.levels, start, search.knobs, search.device, search.discrete_on, tick, search.within
    )
    search.clock.lap("deformable")
    before = [start.before, *(values[0] for values in bent.history[1:])]
    facts = {
        "matrix": start.matrix.tolist(),
        "attempts": search.attempts,
        "doubts": best.doubts,
        "inverse_consistency_percent": round(100 * best.apart, 3),
        "overlap": round(best.met, 4),
        "working_spacing_mm": search.spacing,
        "lncc": [[round(first, 5), round(values[-1], 5)] for first, values in zip(before, bent.history, strict=True)],
        "steps": [len(values) for values in bent.history],
        "folding_percent": bent.folding,
    }
    warnings = [f"the registration looks wrong: {doubt}" for doubt in best.doubts]
    chain = Transform((bent.field, Affine(start.matrix)))
    return RegistrationResult(chain, facts, search.clock.seconds, warnings, bent.apart)


def deformable_only(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """The default's deformable step from the positions in the headers (the paper's Table 4)."""
    return deformable(fixed, moving, settings, dof=0)


def likeness(fixed: Volume, moving: Volume, settings: Settings) -> float:
    """How well two images can be brought together, as the coarsest deformable level sees it; higher is better.

    LNCC less `LIKENESS_APART` times the distance of the maps there and back (`Candidate.apart`): which of several
    images deserve to be registered with one `fixed` as a whole (docs/decisions/0015-several-atlases.md).

    Raises
    ------
    RegistrationError
        If no alignment was found.
    """
    best = _Search(fixed, moving, settings, PLANS["default"]).found(12)[0]
    return best.lncc - LIKENESS_APART * best.apart


def rigid_deformable(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """The default's deformable step after a rigid alignment (the paper's Table 4)."""
    return deformable(fixed, moving, settings, dof=6)


def _fitting_levels(knobs: DeformableSettings, fixed: Volume, moving: Volume, spacing: float) -> DeformableSettings:
    """Leave out levels on which the shorter image would have fewer than `MIN_LEVEL_VOXELS` voxels along an edge."""
    shortest = float(min(fixed.grid.extent_mm.min(), moving.grid.extent_mm.min()))
    used = [n for n, f in enumerate(knobs.factors) if f == 1 or shortest / (spacing * f) >= MIN_LEVEL_VOXELS]
    return replace(
        knobs, **{name: tuple(getattr(knobs, name)[n] for n in used) for name in ("factors", "iterations", "edges")}
    )
