"""Deformable registration: every affine candidate on the coarsest level, the best of them to the finest one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from atlassegfm.registration.discrete import DiscreteSearch
from atlassegfm.registration.focus import Focus
from atlassegfm.registration.grids import gradient, lengths
from atlassegfm.registration.knobs import DeformableSettings
from atlassegfm.registration.level import Level, upsampled
from atlassegfm.registration.linear import Fit
from atlassegfm.registration.operators import operators
from atlassegfm.registration.piece import piece_of
from atlassegfm.registration.transform import Displacement
from atlassegfm.registration.unfold import unfolded
from atlassegfm.runtime import give_back_freed_memory, side_by_side
from atlassegfm.volume import Volume

#: Candidates are compared by LNCC * overlap**CANDIDATE_OVERLAP_POWER - CANDIDATE_BENDING * mean squared gradient of u.
CANDIDATE_OVERLAP_POWER = 0.1
CANDIDATE_BENDING = 0.3
#: What the score of the start itself counts beside that.
LINEAR_WEIGHT = 0.5
#: What the labels' surroundings count beside them, where these are but a part of their image.
UNLIKE_WEIGHT = 16.0

#: How far the maps there and back may lie apart, as part of the image's size (cube root of its volume), before other
#: starts are tried, and before the result is called doubtful; measured in docs/decisions/0007-failed-registrations.md.
RETRY_APART = 0.045
MAX_APART = 0.06
#: LNCC that the deformable step may lose: images that are alike from the start cannot come closer.
MAX_LNCC_LOSS = 0.01
#: Part of the smaller image that has to meet the other one.
MIN_MET = 0.25


@dataclass(frozen=True)
class Candidate:
    """One affine start taken through the coarsest deformable level.

    Parameters
    ----------
    matrix : numpy.ndarray, shape (4, 4)
        The start: fixed to moving world points, RAS+ mm.
    score : float
        How well the images came together; higher is better, among candidates of one pair.
    displacement : torch.Tensor, shape (3, I, J, K)
        Mean of the forward and the inverted backward displacement, in voxels of the level.
    before : float
        LNCC under the start alone.
    history : list of float
        LNCC before each forward step.
    lncc : float
        LNCC under `displacement`.
    distance : torch.Tensor, shape (I, J, K)
        Of forward and inverted backward displacement, in voxels of the level.
    apart : float
        Its mean at the borders in the fixed image, as part of the cube root of the image's volume.
    met : float
        Part of the smaller image that lies in the other one.
    linear : float
        Score of the start itself, before anything was bent.
    unlike : float
        How unlike the surroundings of the labels are (`surroundings`); 0 where that was not asked for.
    """

    matrix: np.ndarray
    score: float
    displacement: torch.Tensor
    before: float
    history: list[float]
    lncc: float
    distance: torch.Tensor
    apart: float
    met: float
    linear: float
    unlike: float = 0.0

    @property
    def rank(self) -> float:
        """What candidates are chosen by: a little gain in bending does not make up for a start far behind.

        Nor does it for surroundings of the labels that are not alike.
        """
        return self.score + LINEAR_WEIGHT * self.linear - UNLIKE_WEIGHT * self.unlike

    @property
    def convincing(self) -> bool:
        """Whether nothing suggests that other starts be tried."""
        return self.apart <= RETRY_APART and not self.doubts

    @property
    def doubts(self) -> list[str]:
        """Why this is probably no alignment of the same anatomy; empty when nothing speaks against it."""
        out = []
        if self.apart > MAX_APART:
            out.append(
                f"the maps there and back lie {100 * self.apart:.1f} % of the image's size apart "
                f"(trusted up to {100 * MAX_APART:.0f} %)"
            )
        if self.met < MIN_MET:
            out.append(f"only {100 * self.met:.0f} % of the smaller image meets the other one")
        if not self.lncc >= self.before - MAX_LNCC_LOSS:
            out.append("the deformable step took the images further apart than the affine one")
        return out


def try_candidates(
    fixed: Volume,
    moving: Volume,
    starts: Sequence[Fit],
    settings: DeformableSettings,
    device: torch.device,
    search: DiscreteSearch | None = None,
) -> list[Candidate]:
    """Take each affine candidate through the coarsest level, there and back; best first.

    How well organs can be brought to match, and how far they had to be bent for it, tells more about a start than how
    well it matches before (docs/decisions/0002-registration.md).

    Parameters
    ----------
    fixed, moving : Volume
        Coarsest working copies scaled to [0, 1].
    starts : sequence of Fit
        Matrices, fixed to moving world points, RAS+ mm, and their scores.
    settings : DeformableSettings
        Its first number of iterations is used.
    device : torch.device
        Where to compute.
    search : DiscreteSearch, optional
        Finds the large displacements that the level's steps then begin with; without it they begin with none.
    """

    def tried(start: Fit) -> Candidate:
        far = None if search is None else search.displacement(start.matrix)
        return _try(fixed, moving, start, settings, device, far)

    return sorted(side_by_side(tried, starts), key=lambda candidate: -candidate.rank)


def _try(
    fixed: Volume,
    moving: Volume,
    start: Fit,
    settings: DeformableSettings,
    device: torch.device,
    far: torch.Tensor | None,
) -> Candidate:
    """One candidate's way through the level, from the displacement `far` on."""
    level = Level(fixed, moving, start.matrix, device, settings.edges[0])
    two = level.both_ways(level.start if far is None else far, settings.iterations[0], settings)
    m, seen = level.warped(two.mean)
    smaller = min(fixed.grid.size, float(np.prod(moving.grid.extent_mm) / np.prod(fixed.spacing)))
    met = min(1.0, float(seen.sum()) / smaller)
    bending = float(sum(gradient(part).square().sum(dim=0).mean() for part in two.there.displacement))
    return Candidate(
        matrix=start.matrix,
        score=max(two.there.history) * met**CANDIDATE_OVERLAP_POWER - CANDIDATE_BENDING * bending,
        displacement=two.mean,
        before=level.lncc(*level.warped(level.start), settings),
        history=two.there.history,
        lncc=level.lncc(m, seen, settings),
        distance=two.distance,
        apart=_apart(level.f, two.distance, seen)
        * float(fixed.spacing[0])
        / float(np.cbrt(np.prod(fixed.grid.extent_mm))),
        met=met,
        linear=float(start.score),
    )


def _apart(f: torch.Tensor, distance: torch.Tensor, seen: torch.Tensor) -> float:
    """Mean distance of the displacements there and back where both images are known, weighted by the image's slope.

    In the air and within plain tissue nothing holds either of them.
    """
    weight = lengths(gradient(f)) * seen
    return float((distance * weight).sum() / weight.sum().clamp_min(1e-6))


@dataclass(frozen=True)
class Deformed:
    """What the deformable step found.

    Parameters
    ----------
    field : Displacement
        On the finest fixed grid, RAS+ mm; followed by the start's matrix it maps fixed to moving world points.
    history : list of list of float
        The LNCC per step of each level.
    folding : float
        Percentage of voxels that fold even after `unfold.unfolded`.
    apart : Volume
        Distance in mm of the maps there and back on the finest level that goes both ways, on that level's fixed grid.
    """

    field: Displacement
    history: list[list[float]]
    folding: float
    apart: Volume


def register_deformable(
    levels: Sequence[tuple[Volume, Volume]],
    start: Candidate,
    settings: DeformableSettings,
    device: torch.device,
    search: Callable[[int], DiscreteSearch] | None = None,
    tick: Callable[[float], None] = lambda fraction: None,
    focus: Focus | None = None,
) -> Deformed:
    """The deformable step from the best start, on one level after the other.

    Each level begins with a search for what lies beyond the reach of its steps.

    Parameters
    ----------
    levels : sequence of (fixed, moving)
        Working copies scaled to [0, 1], coarse to fine, one per entry of ``settings.factors``.
    start : Candidate
        From `try_candidates` on the first of the levels.
    settings : DeformableSettings
        Iterations and smoothness.
    device : torch.device
        Where to compute.
    search : callable, optional
        The discrete search on the level of that number; without it levels begin with what the last one found.
    tick : callable
        Told the finished fraction after each level.
    focus : Focus, optional
        Where the labels are: the finest level is worked on there alone.
    """
    u, last = start.displacement, levels[0][0].grid
    history = [start.history]
    distance, apart_on = start.distance, last
    for number, ((fixed, moving), iterations) in enumerate(zip(levels[1:], settings.iterations[1:], strict=True), 1):
        give_back_freed_memory()
        u = upsampled(operators(device), u, last, fixed.grid)
        finest = number + 1 == len(levels)
        piece = piece_of(focus, (fixed, moving), start.matrix, u) if finest and focus is not None else None
        pair = piece.pair if piece else (fixed, moving)
        level = Level(*pair, start.matrix, device, settings.edges[number])
        begun = piece.part(u) if piece else u
        if search is not None:
            own = piece and DiscreteSearch(piece.pair, piece.pair, device, settings.looks, settings.looked)
            looking = own or search(number)
            begun = looking.displacement(start.matrix, begun)
            # Its features and costs are as large as all that the steps need.
            del own, looking
            give_back_freed_memory()
        if number < settings.both_ways and not finest:
            two = level.both_ways(begun, iterations, settings)
            found, u = two.there, two.mean
            distance, apart_on = two.distance, fixed.grid
        else:
            found = level.forward(begun, iterations, settings)
            u = piece.blended(u, found.displacement) if piece else found.displacement
        history.append(found.history)
        last = fixed.grid
        tick(number / max(1, len(levels) - 1))
    u, folding = unfolded(operators(device), u)
    field = Displacement.of_voxels(last, u.cpu().numpy())
    apart = Volume(distance.cpu().numpy() * np.float32(apart_on.spacing[0]), apart_on)
    return Deformed(field, history, folding, apart)
