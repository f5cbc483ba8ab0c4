"""A start for the linear registration that no bad header, shift or field of view can spoil.

For each rotation and scale of a coarse set, the masked normalised cross-correlation of both images is computed for
*every* translation at once in the Fourier domain (Padfield, "Masked object registration in the Fourier domain",
IEEE TIP 21 (2012), Eq. 28). Nothing is assumed about the positions that the headers claim.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from scipy import fft
from scipy.spatial.transform import Rotation

from atlassegfm.registration.grids import working_copy
from atlassegfm.resampling import resample_image
from atlassegfm.volume import Grid, Volume

#: Coarse voxels along the longest axis of the larger image.
COARSE_VOXELS = 28
#: Translations that leave less than this part of the smaller image in common are not considered.
MIN_OVERLAP = 0.25
#: The score is NCC * overlap**OVERLAP_POWER: chance agreement on a sliver must not win.
OVERLAP_POWER = 0.4
ANGLES_DEG = (-30.0, -15.0, 15.0, 30.0)
PAIR_ANGLE_DEG = 20.0
SCALES = (0.85, 1.0, 1.15)


@dataclass(frozen=True)
class Start:
    """A candidate: fixed world points to moving world points, and how well the coarse images agree there."""

    matrix: np.ndarray
    score: float


def _rotations() -> list[tuple[Rotation, float]]:
    """(rotation, scale) candidates: every scale upright, then rotations about one and two axes."""
    out = [(Rotation.identity(), s) for s in SCALES]
    out += [(Rotation.from_euler(axis, angle, degrees=True), 1.0) for axis in "xyz" for angle in ANGLES_DEG]
    for axes, signs in itertools.product(("xy", "xz", "yz"), itertools.product((-1, 1), repeat=2)):
        out.append((Rotation.from_euler(axes, np.multiply(signs, PAIR_ANGLE_DEG), degrees=True), 1.0))
    return out


def _rotated(moving: Volume, directions: np.ndarray, spacing: float, turn: np.ndarray) -> tuple[Volume, np.ndarray]:
    """Moving image turned about its centre, on axes `directions`; and the mask of its field of view."""
    centre = moving.grid.centre
    corners = (moving.grid.corners - centre) @ np.linalg.inv(turn).T @ directions
    shape = np.ceil(np.ptp(corners, axis=0) / spacing).astype(int) + 1
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = centre - affine[:3, :3] @ ((shape - 1) / 2.0)
    grid = Grid(tuple(shape.tolist()), affine)

    def turned(points: np.ndarray) -> np.ndarray:
        return (points - centre) @ turn.T + centre

    mask = resample_image(moving.with_data(np.ones(moving.grid.shape, np.float32)), grid, turned).data
    return resample_image(moving, grid, turned), mask


class _Correlator:
    """Masked NCC of one fixed image against many moving ones."""

    def __init__(self, fixed: np.ndarray, room: np.ndarray) -> None:
        # Padded so that no translation wraps around onto another.
        self.shape = tuple(fft.next_fast_len(n + int(r) - 1, real=True) for n, r in zip(fixed.shape, room, strict=True))
        self.size = fixed.size
        ones = np.ones_like(fixed)
        self.f, self.f2, self.m = (self._forward(x) for x in (fixed, fixed**2, ones))

    def _forward(self, x: np.ndarray) -> np.ndarray:
        return fft.rfftn(x, self.shape, workers=2)

    def _correlate(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return fft.irfftn(np.conj(a) * b, self.shape, workers=2)

    def best(self, moving: np.ndarray, mask: np.ndarray) -> tuple[float, np.ndarray]:
        """Highest score and its shift t: fixed voxel x meets moving voxel x + t."""
        g, g2, m = (self._forward(x) for x in (moving * mask, moving**2 * mask, mask))
        n = np.maximum(self._correlate(self.m, m), 1e-3)
        sf, sg = self._correlate(self.f, m), self._correlate(self.m, g)
        cov = self._correlate(self.f, g) - sf * sg / n
        var_f = self._correlate(self.f2, m) - sf**2 / n
        var_g = self._correlate(self.m, g2) - sg**2 / n
        floor = 1e-3 * n  # intensities are scaled to [0, 1]: below a standard deviation of 0.03 there is no structure
        ncc = cov / np.sqrt(np.maximum(var_f, floor) * np.maximum(var_g, floor))
        overlap = np.minimum(n / min(self.size, mask.sum()), 1.0)
        score = np.where(overlap >= MIN_OVERLAP, ncc * overlap**OVERLAP_POWER, -1.0)
        at = np.unravel_index(int(score.argmax()), score.shape)
        shift = [i if i <= s // 2 else i - s for i, s in zip(at, self.shape, strict=True)]
        return float(score[at]), np.array(shift, dtype=float)


def find_starts(fixed: Volume, moving: Volume, *, keep: int = 4) -> list[Start]:
    """Best coarse alignments, best first.

    Parameters
    ----------
    fixed, moving : Volume
        Images scaled to [0, 1].
    keep : int
        How many candidates to return.

    Returns
    -------
    list of Start
        Their matrices map fixed to moving world points, RAS+ mm.
    """
    spacing = float(max(fixed.grid.extent_mm.max(), moving.grid.extent_mm.max()) / COARSE_VOXELS)
    coarse, other = working_copy(fixed, spacing), working_copy(moving, spacing)
    directions = coarse.affine[:3, :3] / coarse.spacing
    turns = [rotation.as_matrix() * scale for rotation, scale in _rotations()]
    turned = [_rotated(other, directions, spacing, turn) for turn in turns]
    correlator = _Correlator(coarse.data, np.max([mask.shape for _, mask in turned], axis=0))
    starts = []
    for turn, (image, mask) in zip(turns, turned, strict=True):
        score, shift = correlator.best(image.data, mask)
        # fixed voxel -> turned frame voxel -> turned frame world -> moving world
        move = np.eye(4)
        move[:3, 3] = shift
        about = np.eye(4)
        about[:3, :3] = turn
        about[:3, 3] = other.grid.centre - turn @ other.grid.centre
        matrix = about @ image.affine @ move @ np.linalg.inv(coarse.affine)
        starts.append(Start(matrix, score))
    return sorted(starts, key=lambda s: -s.score)[:keep]
