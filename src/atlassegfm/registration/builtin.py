"""Our own registration: a global start, rigid, affine, greedy diffeomorphic refinement. Runs on CPU and CUDA.

Every length is chosen in mm from the fields of view, so that a mouse brain and a whole abdomen take the same path.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace

import numpy as np

from atlassegfm.errors import RegistrationError
from atlassegfm.registration.copies import scaled_copy, working_spacing
from atlassegfm.registration.grids import coarse_copies
from atlassegfm.registration.initialise import StartSearch
from atlassegfm.registration.linear import LinearProblem, optimise
from atlassegfm.registration.options import OwnOptions
from atlassegfm.registration.plans import PLANS
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.registration.search import Clock, Search, linear_candidates
from atlassegfm.registration.transform import Affine, Transform
from atlassegfm.runtime import one_thread
from atlassegfm.volume import Volume

#: Voxels along the longest edge on the second linear level of the methods that are linear alone.
FINE_LINEAR_VOXELS = 64
#: Images of fewer voxels are registered on one thread: several take as long, and more of the cores' time.
WORTH_THREADS = 200_000
#: What the distance of the maps there and back counts beside the LNCC in `likeness`.
LIKENESS_APART = 5.0


def _linear_only(fixed: Volume, moving: Volume, settings: Settings, dof: int) -> RegistrationResult:
    clock = Clock()
    spacing = working_spacing(fixed, moving)
    fixed, moving = scaled_copy(fixed, spacing), scaled_copy(moving, spacing)
    clock.lap("working copies")
    settings.progress("searching a start", 0.0)
    fits, facts = linear_candidates(StartSearch(fixed, moving), settings, clock, dof=dof)
    problem = LinearProblem(*coarse_copies(fixed, moving, FINE_LINEAR_VOXELS))
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
    options = OwnOptions(**settings.options)
    plan = PLANS[options.quality]
    search = Search(fixed, moving, settings, replace(plan, seats=plan.seats and options.seats), dof)
    best = search.found()[0]
    if not best.score > 0:
        raise RegistrationError("atlas and query look alike nowhere in the place that the alignment gives them")
    bent, steering = search.steered(best, search.bent(best))
    before = [best.before, *(values[0] for values in bent.history[1:])]
    facts = {
        "matrix": best.matrix.tolist(),
        "attempts": search.attempts,
        "doubts": best.doubts,
        "inverse_consistency_percent": round(100 * best.apart, 3),
        "overlap": round(best.met, 4),
        "working_spacing_mm": search.spacing,
        "lncc": [[round(first, 5), round(values[-1], 5)] for first, values in zip(before, bent.history, strict=True)],
        "steps": [len(values) for values in bent.history],
        "folding_percent": bent.folding,
        **steering,
    }
    warnings = [f"the registration looks wrong: {doubt}" for doubt in best.doubts]
    chain = Transform((bent.field, Affine(best.matrix)))
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
    best = Search(fixed, moving, settings, PLANS["default"]).found()[0]
    return best.lncc - LIKENESS_APART * best.apart


def rigid_deformable(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """The default's deformable step after a rigid alignment (the paper's Table 4)."""
    return deformable(fixed, moving, settings, dof=6)
