"""A start for the linear registration that no bad header, shift or field of view can spoil.

For each rotation and scale of a coarse set, the masked normalised cross-correlation of both images is computed for
*every* translation at once in the Fourier domain (Padfield, "Masked object registration in the Fourier domain",
IEEE TIP 21 (2012), Eq. 28). Nothing is assumed about the positions that the headers claim.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import fft
from scipy.spatial.transform import Rotation

from atlassegfm.registration.grids import voxel_map, working_copy
from atlassegfm.registration.operators import CompiledOperators
from atlassegfm.registration.transform import Affine, about
from atlassegfm.volume import Grid, Volume

#: Voxels along the longest axis of the larger image: for the first look at all poses, and for the second.
VOXELS = (16, 28)
#: The same where one of the images is but a part.
PART_VOXELS = (24, 40)
#: How many poses are looked at again.
SCREENED = 10
#: Translations that leave less than this part of the smaller image in common are not considered.
MIN_OVERLAP = 0.25
#: The score is NCC * overlap**OVERLAP_POWER: chance agreement on a sliver must not win.
OVERLAP_POWER = 0.4
ANGLES_DEG = (-30.0, -15.0, 15.0, 30.0)
PAIR_ANGLE_DEG = 20.0
SCALES = (0.85, 1.0, 1.15)
#: Where the best of the usual poses is a turned one, all of them are looked at once more from there, so many times.
ROUNDS = 3

#: A rotation and a scale.
Pose = tuple[Rotation, float]


@dataclass(frozen=True)
class Start:
    """A candidate: fixed world points to moving world points, and how well the coarse images agree there."""

    matrix: np.ndarray
    score: float


def _usual(upright: Rotation) -> list[Pose]:
    """Every scale upright, then rotations about one and two axes."""
    out = [(upright, s) for s in SCALES]
    out += [(Rotation.from_euler(axis, angle, degrees=True) * upright, 1.0) for axis in "xyz" for angle in ANGLES_DEG]
    for axes, signs in itertools.product(("xy", "xz", "yz"), itertools.product((-1, 1), repeat=2)):
        turn = Rotation.from_euler(axes, np.multiply(signs, PAIR_ANGLE_DEG), degrees=True)
        out.append((turn * upright, 1.0))
    return out


def _right_angles() -> list[Pose]:
    return [(rotation, 1.0) for rotation in Rotation.create_group("O") if rotation.magnitude() > 0.1]


def _turned(moving: Volume, directions: np.ndarray, spacing: float, about: np.ndarray) -> tuple[Volume, np.ndarray]:
    """Moving image on axes `directions` under the map `about` to its world; and the mask of its field of view."""
    corners = Affine(np.linalg.inv(about))(moving.grid.corners) @ directions
    shape = np.ceil(np.ptp(corners, axis=0) / spacing).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = moving.grid.centre - affine[:3, :3] @ ((shape - 1) / 2.0)
    grid = Grid(tuple(shape.tolist()), affine)
    still = torch.zeros(3, *grid.shape)
    image = torch.from_numpy(np.ascontiguousarray(moving.data, dtype=np.float32))[None]
    values, seen = CompiledOperators().warp(image, voxel_map(grid, moving.grid, about), still)
    return Volume(values[0].numpy(), grid), seen.numpy()


@dataclass(frozen=True)
class _Fitted:
    """A pose, its number among those it was looked at with, and the best alignment under it."""

    pose: Pose
    number: int
    start: Start


class _Correlator:
    """Masked NCC of one fixed image against many moving ones."""

    def __init__(self, fixed: np.ndarray, room: np.ndarray) -> None:
        # Padded so that only translations that overlap too little wrap around onto others that do.
        self.shape = tuple(
            fft.next_fast_len(n + r - 1 - int(MIN_OVERLAP * min(n, r)), real=True)
            for n, r in zip(fixed.shape, room.tolist(), strict=True)
        )
        self.room, self.size = room, fixed.size
        self.f, self.f2, self.m = np.conj(self._forward(fixed, fixed**2, np.ones_like(fixed)))

    def _forward(self, *images: np.ndarray) -> np.ndarray:
        return fft.rfftn(np.stack(images), self.shape, axes=(1, 2, 3))

    def best(self, moving: np.ndarray, mask: np.ndarray) -> tuple[float, np.ndarray]:
        """Highest score and its shift t: fixed voxel x meets moving voxel x + t."""
        g, g2, m = self._forward(moving * mask, moving**2 * mask, mask)
        spectra = np.stack([self.m * m, self.f * m, self.m * g, self.f * g, self.f2 * m, self.m * g2])
        n, sf, sg, fg, ff, gg = fft.irfftn(spectra, self.shape, axes=(1, 2, 3))
        n = np.maximum(n, 1e-3)
        cov = fg - sf * sg / n
        var_f = ff - sf**2 / n
        var_g = gg - sg**2 / n
        floor = 1e-3 * n  # intensities are scaled to [0, 1]: below a standard deviation of 0.03 there is no structure
        ncc = cov / np.sqrt(np.maximum(var_f, floor) * np.maximum(var_g, floor))
        overlap = np.minimum(n / min(self.size, mask.sum()), 1.0)
        score = np.where(overlap >= MIN_OVERLAP, ncc * overlap**OVERLAP_POWER, -1.0)
        at = np.unravel_index(int(score.argmax()), score.shape)
        # Forward a shift reaches no further than the moving image is long; what lies beyond are shifts backwards.
        shift = [i if i < r else i - s for i, s, r in zip(at, self.shape, self.room, strict=True)]
        return float(score[at]), np.array(shift, dtype=float)


class StartSearch:
    """The search for starts of one pair: all poses are screened on few voxels, the best looked at again on more.

    Parameters
    ----------
    fixed, moving : Volume
        Images scaled to [0, 1].
    voxels : (int, int)
        Along the longest axis of the larger image: for the first look at all poses, and for the second.
    """

    def __init__(self, fixed: Volume, moving: Volume, voxels: tuple[int, int] = VOXELS) -> None:
        self.fixed, self.moving = fixed, moving
        self._first, self._second = voxels

    @cached_property
    def _upright(self) -> list[_Fitted]:
        return self._fitted(_usual(Rotation.identity()), self._first)

    @cached_property
    def _usual(self) -> list[_Fitted]:
        """The usual poses, but from the best of them on: a turned header has as good a set as an upright one."""
        upright, usual = Rotation.identity(), self._upright
        for _ in range(ROUNDS):
            best = usual[0].pose[0]
            if (best * upright.inv()).magnitude() < 1e-6:
                break
            # The best is among them again.
            upright, usual = best, self._fitted(_usual(best), self._first)
        return usual

    @cached_property
    def _wide(self) -> list[_Fitted]:
        return self._fitted(_right_angles(), self._first)

    @property
    def turned_fits_better(self) -> bool:
        """Whether a turn by right angles brings the images closer than any usual pose: the header may lie."""
        return self._wide[0].start.score > self._upright[0].start.score

    def _fitted(self, poses: Sequence[Pose], voxels: int) -> list[_Fitted]:
        """The best translation under each of the poses; best first."""
        fixed, moving = self.fixed, self.moving
        spacing = float(max(fixed.grid.extent_mm.max(), moving.grid.extent_mm.max()) / voxels)
        coarse, other = working_copy(fixed, spacing), working_copy(moving, spacing)
        directions = coarse.affine[:3, :3] / coarse.spacing
        maps = [about(rotation.as_matrix() * scale, moving.grid.centre) for rotation, scale in poses]
        turned = [_turned(other, directions, spacing, one) for one in maps]
        correlator = _Correlator(coarse.data, np.max([mask.shape for _, mask in turned], axis=0))
        found = []
        for number, (pose, one, (image, mask)) in enumerate(zip(poses, maps, turned, strict=True)):
            score, shift = correlator.best(image.data, mask)
            # fixed voxel -> turned frame voxel -> turned frame world -> moving world
            move = np.eye(4)
            move[:3, 3] = shift
            start = Start(one @ image.affine @ move @ np.linalg.inv(coarse.affine), score)
            found.append(_Fitted(pose, number, start))
        return sorted(found, key=lambda fit: -fit.start.score)

    def starts(self, keep: int, *, wide: bool = False) -> list[Start]:
        """Best coarse alignments, best first.

        Parameters
        ----------
        keep : int
            How many to return.
        wide : bool
            Out of the 23 turns by right angles in place of the usual poses: for headers that lie.

        Returns
        -------
        list of Start
            Their matrices map fixed to moving world points, RAS+ mm.
        """
        screened = (self._wide if wide else self._usual)[: max(keep, SCREENED)]
        # In the order of the poses: the upright one comes first among equals.
        poses = [fit.pose for fit in sorted(screened, key=lambda fit: fit.number)]
        return [fit.start for fit in self._fitted(poses, self._second)[:keep]]
