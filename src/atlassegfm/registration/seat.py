"""Organs looked for one by one: they slide past each other, and one smooth map of the whole body cannot follow.

After the images have been registered as wholes, the surroundings of a label are registered again on their own, from
places all around the one where the label came to lie. Each way is a search for large displacements (`discrete`) and a
few greedy steps (`level`), on voxels that are large for the label. How unlike the surroundings of the carried label are
to those of the label in the atlas (mean squared difference of `mind`) tells which way came to the right place; it tells
that better than the similarity that the steps climb (docs/decisions/0016-seats.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch

from atlassegfm.overlap import dice
from atlassegfm.registration.discrete import Look
from atlassegfm.registration.grids import around
from atlassegfm.registration.knobs import DeformableSettings
from atlassegfm.registration.level import upsampled
from atlassegfm.registration.surroundings import NEAR, Surroundings, spacing_for
from atlassegfm.registration.transform import Affine, Displacement, Transform, voxel_displacement
from atlassegfm.registration.unfold import unfolded
from atlassegfm.runtime import side_by_side
from atlassegfm.volume import Grid, Volume, bounding_box

#: Starts lie so far around the carried label along an axis, as part of its shortest edge, but no farther than this.
STEP_PART, STEP_MM = 0.35, 18.0
#: The same for starts aside along one, two and three axes at once.
STEP_ALONG = (1.0, 1.0, 0.9, 0.8)
#: Axes along which starts lie aside at once, at most; fewer where a seat has been found already.
ASIDE, ASIDE_AGAIN = 3, 2
#: Ways that are gone a second time, and those of them that are taken to the fine level.
AGAIN, FINE = 9, 2
#: Ways at which surroundings are unlike so many times as much as at the best of them are given up, and all of them if
#: the best one is so much worse than what the registration says.
GIVEN_UP = 1.25
#: How ways search (see `DeformableSettings`): at first far and wide only; on the fine level what is left are details.
FIRST_LOOKS, FINE_LOOKS = ((2, 3),), ((1, 1),)
#: Greedy steps on either level.
STEPS, FINE_STEPS = 20, 30
#: What is cut out of the fixed and of the moving image around the label, in coarse voxels.
FIXED_MARGIN, MOVING_MARGIN = 4.0, 8.0
#: A seat has to be less unlike than what the registration says by so much, on both levels together: interpolation alone
#: makes 0.002.
LEAST_GAIN = 0.003
#: No other place is looked for where the registered label's surroundings are less unlike on the coarse level.
ALIKE = 0.02
#: Labels of which less is left on coarse voxels (vessels, adrenals) are too thin to be told from their surroundings.
FEWEST_KEPT = 0.7
#: Dice of the label in its seat and as registered from which on both say the same.
SAME = 0.95
#: Fewest coarse voxels along an edge of what is cut out.
FEWEST_VOXELS = 6

_KNOBS = DeformableSettings(factors=(1,), iterations=(STEPS,))


@dataclass(frozen=True, eq=False)
class Seat:
    """Where a label was found when it was looked for on its own.

    Parameters
    ----------
    transform : Transform
        Fixed to moving world points, RAS+ mm, for the label and its surroundings.
    shift : numpy.ndarray, shape (3,)
        Of the label's middle from where the registration had put it, RAS+ mm.
    before, after : float
        How unlike the surroundings are, under the registration and under `transform`: mean squared difference of
        MIND-SSC on both levels together.
    apart : Volume
        Distance in mm of the maps there and back, on a grid over that part of the fixed image.
    roundtrip : float
        Dice of the label as both maps carry it.
    """

    transform: Transform
    shift: np.ndarray
    before: float
    after: float
    apart: Volume
    roundtrip: float

    @property
    def grid(self) -> Grid:
        """The part of the fixed image that the transform holds for."""
        return self.transform.stages[0].grid

    @property
    def moved_mm(self) -> float:
        """Length of the shift."""
        return float(np.linalg.norm(self.shift))

    @property
    def facts(self) -> dict[str, float]:
        """JSON-ready, for the report."""
        unlike = {"unlike_before": round(self.before, 5), "unlike": round(self.after, 5)}
        return {"moved_mm": round(self.moved_mm, 2), **unlike}


@dataclass(frozen=True, eq=False)
class _Way:
    """One start and how far it has come: the coarse displacement in voxels of its pair, and how unlike both are."""

    pair: Surroundings
    matrix: np.ndarray
    u: torch.Tensor
    unlike: float


class SeatSearch:
    """The search for labels one by one, for one registered pair of images.

    Parameters
    ----------
    fixed, moving : Volume
        Working copies of the registration's finest spacing, isotropic, intensities scaled to [0, 1].
    forward : Transform
        The registration: fixed to moving world points, RAS+ mm.
    device : torch.device
        Where to compute.
    """

    def __init__(self, fixed: Volume, moving: Volume, forward: Transform, device: torch.device) -> None:
        self._fixed, self._moving, self._forward, self._device = fixed, moving, forward, device

    def find(self, label: Volume, carried: Volume, *, again: bool = False) -> Seat | None:
        """A better place for a label, or None if none was found.

        Parameters
        ----------
        label : Volume
            The label on the moving image's own grid: non-zero inside, some voxels at least.
        carried : Volume
            What the registration made of it on the fixed image's own grid, not empty.
        again : bool
            Whether `forward` is a seat that was found before: it is nearer than a registration of the whole image.
        """
        there, here = _points(label), _points(carried)
        extent = np.ptp(there, axis=0) + label.spacing.max()
        spacing = spacing_for(self._fixed, float(extent.max()))
        middles = here.mean(axis=0), there.mean(axis=0)
        step = min(STEP_MM, STEP_PART * float(extent.min()))
        directions = _directions(ASIDE_AGAIN if again else ASIDE)
        starts = [_aside(self._forward.matrix, middles, step * np.array(d)) for d in directions]
        images = self._cut_out(label, there, [self._forward.matrix, *starts], here, spacing)
        coarse = Surroundings.of(*images, spacing, self._device)
        if min(coarse.fixed.grid.shape) < FEWEST_VOXELS or coarse.kept < FEWEST_KEPT:
            return None
        registered = self._registered(coarse, here)
        if not ALIKE <= registered.unlike < np.inf:
            return None
        ways = side_by_side(lambda matrix: _first(coarse, matrix, there), starts)
        ways = sorted((w for w in ways if w is not None), key=lambda way: way.unlike)[:AGAIN]
        if not ways or ways[0].unlike > GIVEN_UP * registered.unlike:
            return None
        ways = [way for way in ways if way.unlike <= GIVEN_UP * ways[0].unlike]
        ways = sorted(side_by_side(_farther, [registered, *ways]), key=lambda way: way.unlike)[:FINE]
        return self._best(registered, ways, images, middles[0])

    def _cut_out(
        self, label: Volume, there: np.ndarray, matrices: Sequence[np.ndarray], here: np.ndarray, spacing: float
    ) -> tuple[Volume, Volume, Volume]:
        """Fixed and moving image and the label, as much of each as any way may need."""
        corners = np.array(list(product(*zip(there.min(axis=0), there.max(axis=0), strict=True))))
        reached = np.concatenate([here, *(Affine(np.linalg.inv(matrix))(corners) for matrix in matrices)])
        fixed = around(self._fixed, reached, FIXED_MARGIN * spacing / self._fixed.spacing[0])
        moving = around(self._moving, there, MOVING_MARGIN * spacing / self._moving.spacing[0])
        box = bounding_box(label.data, margin=3)
        own = Volume((label.data[box] > 0).astype(np.float32), label.grid.cropped(box))
        return fixed, moving, own

    def _registered(self, coarse: Surroundings, here: np.ndarray) -> _Way:
        """What the registration says, as a way that has come to its end."""
        pair, matrix = coarse.cut(here, FIXED_MARGIN), self._forward.matrix
        u = self._told(pair, matrix)
        return _Way(pair, matrix, u, pair.unlikeness(matrix, u, NEAR)[0])

    def _told(self, pair: Surroundings, matrix: np.ndarray) -> torch.Tensor:
        """The registration as a displacement in voxels of the pair's fixed image, to be followed by the matrix."""
        return torch.as_tensor(voxel_displacement(self._forward, matrix, pair.fixed.grid), device=self._device)

    def _best(
        self, registered: _Way, ways: Sequence[_Way], images: tuple[Volume, Volume, Volume], middle: np.ndarray
    ) -> Seat | None:
        """The best of the ways on the fine level, if it convinces."""
        coarse = float(registered.pair.fixed.spacing[0])
        spacing = max(float(self._fixed.spacing[0]), coarse / 2.0)
        fine = Surroundings.of(*images, spacing, self._device)
        near = NEAR * coarse / spacing
        own = _cut_alike(fine, registered)
        before = registered.unlike + own.unlikeness(registered.matrix, self._told(own, registered.matrix), near)[0]
        ends = side_by_side(lambda way: _refined(fine, way, near), ways)
        way, end, mask = min(((w, *e) for w, e in zip(ways, ends, strict=True)), key=lambda found: found[1].unlike)
        after = way.unlike + end.unlike
        told = end.pair.unlikeness(end.matrix, self._told(end.pair, end.matrix), near)[1]
        if not after < before - LEAST_GAIN or dice(mask, told) >= SAME:
            return None
        grid = end.pair.fixed.grid
        field = Displacement.of_voxels(grid, end.u.cpu().numpy())
        shift = grid.to_world(np.argwhere(mask)).mean(axis=0) - middle
        return Seat(Transform((field, Affine(end.matrix))), shift, before, after, *_there_and_back(way))


def _directions(most: int) -> list[tuple[float, float, float]]:
    """The place itself and those of the 26 around it that lie aside along so many axes at most."""
    places = [d for d in product((-1, 0, 1), repeat=3) if np.count_nonzero(d) <= most]
    return [tuple(STEP_ALONG[np.count_nonzero(d)] * float(x) for x in d) for d in places]


def _aside(matrix: np.ndarray, middles: tuple[np.ndarray, np.ndarray], step: np.ndarray) -> np.ndarray:
    """The matrix with another shift: it takes the place `step` mm from the first middle to the second one."""
    out = matrix.copy()
    out[:3, 3] = middles[1] - matrix[:3, :3] @ (middles[0] + step)
    return out


def _first(coarse: Surroundings, matrix: np.ndarray, there: np.ndarray) -> _Way | None:
    """A way from its start; None where that lies outside the fixed image."""
    pair = coarse.cut(Affine(np.linalg.inv(matrix))(there), FIXED_MARGIN)
    if min(pair.fixed.grid.shape) < FEWEST_VOXELS:
        return None
    return _farther(_Way(pair, matrix, pair.level(matrix).start, np.inf), FIRST_LOOKS)


def _farther(way: _Way, looks: Sequence[Look] = _KNOBS.looks) -> _Way:
    """A search and some steps from where the way has come to."""
    u = way.pair.searched(way.matrix, way.u, looks)
    u = way.pair.level(way.matrix).forward(u, STEPS, _KNOBS).displacement
    return _Way(way.pair, way.matrix, u, way.pair.unlikeness(way.matrix, u, NEAR)[0])


def _refined(fine: Surroundings, way: _Way, near: float) -> tuple[_Way, np.ndarray]:
    """The way on fine voxels, and the label's mask at its end."""
    pair = _cut_alike(fine, way)
    level = pair.level(way.matrix)
    u = upsampled(level.ops, way.u, way.pair.fixed.grid, pair.fixed.grid)
    u = level.forward(pair.searched(way.matrix, u, FINE_LOOKS), FINE_STEPS, _KNOBS).displacement
    u, _ = unfolded(level.ops, u)
    unlike, mask = pair.unlikeness(way.matrix, u, near)
    return _Way(pair, way.matrix, u, unlike), mask


def _cut_alike(fine: Surroundings, way: _Way) -> Surroundings:
    """The fine pair, its fixed image over the field of view of the way's."""
    return fine.cut(way.pair.fixed.grid.corners, 0.0)


def _there_and_back(way: _Way) -> tuple[Volume, float]:
    """Distance in mm of the maps there and back at the end of a way, on its coarse grid; the label's Dice by both."""
    level, grid = way.pair.level(way.matrix), way.pair.fixed.grid
    two = level.both_ways(way.u, STEPS, _KNOBS)
    carried = [
        level.ops.warp(way.pair.label[None], level.to_moving, u)[0][0] for u in (two.there.displacement, two.back)
    ]
    there, back = (share.cpu().numpy() >= 0.5 for share in carried)
    apart = Volume(two.distance.cpu().numpy() * np.float32(grid.spacing[0]), grid)
    return apart, dice(there, back, both_empty=0.0)


def _points(mask: Volume) -> np.ndarray:
    """World points (N, 3) of the non-zero voxels."""
    return mask.grid.to_world(np.argwhere(mask.data))
