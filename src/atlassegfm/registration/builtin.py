"""Our own registration: a global start, rigid, affine, greedy diffeomorphic refinement. Runs on CPU and CUDA.

Every length is chosen in mm from the fields of view, so that a mouse brain and a whole abdomen take the same path.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from atlassegfm.errors import RegistrationError
from atlassegfm.registration.deformable import DeformableSettings, register_deformable, try_candidates
from atlassegfm.registration.grids import working_copy
from atlassegfm.registration.initialise import find_starts
from atlassegfm.registration.linear import Fit, LinearProblem, affine_candidates, optimise
from atlassegfm.registration.measures import folding_percent
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.registration.transform import Affine, Transform
from atlassegfm.volume import Volume

#: Voxels of a working copy aimed at; finer than the finest native spacing it never gets.
TARGET_VOXELS = 2_000_000
#: Intensities outside these percentiles are clamped.
CLAMP_PERCENTILES = (0.5, 99.5)
#: Voxels along the longest edge on the two linear levels.
LINEAR_VOXELS = (32, 64)
#: Starts refined by the linear step.
STARTS = 5
#: Fewest voxels along the shortest edge of a deformable level; coarser levels are left out.
MIN_LEVEL_VOXELS = 8


def clamped(image: Volume) -> Volume:
    """Intensities clamped at `CLAMP_PERCENTILES` and scaled to [0, 1], float32."""
    low, high = np.percentile(image.data, CLAMP_PERCENTILES)
    if not high > low:
        low, high = float(image.data.min()), float(image.data.max())
    if not high > low:
        raise RegistrationError("expected an image with contrast, got a constant one")
    return Volume(np.clip((image.data - low) / (high - low), 0.0, 1.0).astype(np.float32), image.grid)


def working_spacing(fixed: Volume, moving: Volume) -> float:
    """Isotropic voxel size in mm at which both images have about `TARGET_VOXELS` voxels."""
    volume = float(np.sqrt(np.prod(fixed.grid.extent_mm) * np.prod(moving.grid.extent_mm)))
    finest = float(max(fixed.spacing.min(), moving.spacing.min()))
    return max(finest, (volume / TARGET_VOXELS) ** (1.0 / 3.0))


class _Clock:
    """Wall seconds per stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def _linear(
    fixed: Volume, moving: Volume, settings: Settings, clock: _Clock, *, dof: int
) -> tuple[list[Fit], dict[str, Any]]:
    """Linear candidates from every start, best first, and facts for the report."""
    settings.progress("searching a start", 0.0)
    starts = find_starts(fixed, moving, keep=STARTS)
    clock.lap("start")
    settings.progress("linear registration", 0.0)
    fits = affine_candidates(*_level(fixed, moving, LINEAR_VOXELS[0]), starts, torch.device(settings.device), dof=dof)
    if not fits or starts[0].score <= 0:
        raise RegistrationError(
            "no alignment of atlas and query was found: they look alike nowhere; do both show the same body part?"
        )
    clock.lap("linear")
    return fits, {"start_score": starts[0].score, "linear_score": fits[0].score, "candidates": len(fits)}


def _level(fixed: Volume, moving: Volume, voxels: int) -> tuple[Volume, Volume]:
    """Working copies with `voxels` voxels along the longest edge, but none finer than `working_spacing`."""
    longest = float(max(fixed.grid.extent_mm.max(), moving.grid.extent_mm.max()))
    spacing = max(longest / voxels, working_spacing(fixed, moving))
    return working_copy(fixed, spacing), working_copy(moving, spacing)


def _linear_only(fixed: Volume, moving: Volume, settings: Settings, dof: int) -> RegistrationResult:
    clock = _Clock()
    fixed, moving = clamped(fixed), clamped(moving)
    fits, facts = _linear(fixed, moving, settings, clock, dof=dof)
    problem = LinearProblem(*_level(fixed, moving, LINEAR_VOXELS[1]), torch.device(settings.device))
    fit = max((optimise(problem, f.matrix, dof) for f in fits[:2]), key=lambda f: f.score)
    clock.lap("linear, fine")
    facts |= {"linear_score": fit.score, "matrix": fit.matrix.tolist()}
    return RegistrationResult(Transform((Affine(fit.matrix),)), facts, clock.seconds)


def identity(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """No registration: the positions in the headers are taken as they are."""
    return RegistrationResult(Transform((Affine(np.eye(4)),)))


def rigid(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """Rigid registration from any start; see `initialise.find_starts` and `linear.optimise`."""
    return _linear_only(fixed, moving, settings, dof=6)


def affine(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """Rigid, then affine registration from any start; see `initialise.find_starts` and `linear.optimise`."""
    return _linear_only(fixed, moving, settings, dof=12)


def _start_matrices(
    fixed: Volume, moving: Volume, settings: Settings, clock: _Clock, *, dof: int
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Alignments from which the deformable step may begin; ``dof=0``: the positions in the headers alone."""
    if dof == 0:
        return [np.eye(4)], {}
    fits, facts = _linear(fixed, moving, settings, clock, dof=dof)
    return [fit.matrix for fit in fits], facts


def deformable(
    fixed: Volume, moving: Volume, settings: Settings, knobs: DeformableSettings | None = None, *, dof: int = 12
) -> RegistrationResult:
    """Default method: affine from any start, then greedy diffeomorphic LNCC.

    Parameters
    ----------
    fixed, moving : Volume
        Images with raw intensities.
    settings : Settings
        Device and progress; nothing here is random.
    knobs : DeformableSettings, optional
        Iterations and smoothness.
    dof : {12, 6, 0}
        Alignment before it: affine, rigid, none.

    Returns
    -------
    RegistrationResult
        Displacement on the working grid of `fixed`, followed by the affine matrix.
    """
    clock = _Clock()
    fixed, moving = clamped(fixed), clamped(moving)
    device = torch.device(settings.device)
    matrices, facts = _start_matrices(fixed, moving, settings, clock, dof=dof)
    spacing = working_spacing(fixed, moving)
    knobs = _fitting_levels(knobs or DeformableSettings(), fixed, moving, spacing)
    levels = [(working_copy(fixed, spacing * f), working_copy(moving, spacing * f)) for f in knobs.factors]
    settings.progress("deformable registration", 0.0)
    candidates = try_candidates(*levels[0], matrices, knobs, device)
    best = candidates[0]
    if not best.score > 0:
        raise RegistrationError("atlas and query look alike nowhere in the place that the alignment gives them")
    field, history = register_deformable(
        levels, best, knobs, device, lambda fraction: settings.progress("deformable registration", fraction)
    )
    clock.lap("deformable")
    facts |= {
        "matrix": best.matrix.tolist(),
        "candidate_scores": [round(c.score, 5) for c in candidates],
        "working_spacing_mm": spacing,
        "lncc": [[round(values[0], 5), round(values[-1], 5)] for values in history],
        "steps": [len(values) for values in history],
        "folding_percent": folding_percent(field),
    }
    return RegistrationResult(Transform((field, Affine(best.matrix))), facts, clock.seconds)


def deformable_only(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """The default's deformable step from the positions in the headers (the paper's Table 4)."""
    return deformable(fixed, moving, settings, dof=0)


def rigid_deformable(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """The default's deformable step after a rigid alignment (the paper's Table 4)."""
    return deformable(fixed, moving, settings, dof=6)


def _fitting_levels(knobs: DeformableSettings, fixed: Volume, moving: Volume, spacing: float) -> DeformableSettings:
    """Leave out levels on which the shorter image would have fewer than `MIN_LEVEL_VOXELS` voxels along an edge."""
    shortest = float(min(fixed.grid.extent_mm.min(), moving.grid.extent_mm.min()))
    used = [n for n, f in enumerate(knobs.factors) if f == 1 or shortest / (spacing * f) >= MIN_LEVEL_VOXELS]
    return replace(
        knobs, factors=tuple(knobs.factors[n] for n in used), iterations=tuple(knobs.iterations[n] for n in used)
    )
