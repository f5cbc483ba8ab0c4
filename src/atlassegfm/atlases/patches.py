"""How much each atlas is worth at each place of the query, by how its image looks there.

Joint label fusion: Wang, Suh, Das, Pluta, Craige & Yushkevich, "Multi-atlas segmentation with joint label fusion", IEEE
TPAMI 35 (2013) 611-623. The votes of the n atlases at a voxel x are weighted by

    w(x) = (M(x) + a I)^-1 1 / (1^T (M(x) + a I)^-1 1)                                     (Eq. 9 and 12)
    M(x)_ij = [ < |A_i - F|, |A_j - F| > over the patch around x ]^b                        (Eq. 14)

so that two atlases that err together count less than two that err apart; F is the query. Each atlas may take its patch
from the most similar place within a small window (section 3.3). Locally weighted voting knows the diagonal of M alone:
w_i(x) is M(x)_ii^-b, scaled to a sum of 1 (Artaechevarria, Munoz-Barrutia & Ortiz-de-Solorzano, "Combination strategies
in multi-atlas image segmentation", IEEE TMI 28 (2009) 1266-1277, Eq. 5).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from atlassegfm.atlases.patch_kernels import joint_differences
from atlassegfm.atlases.warped import WarpedAtlas, label_box, labels_of
from atlassegfm.registration.kernels import run_slabs
from atlassegfm.resampling import resample_image
from atlassegfm.volume import Grid, Volume

#: Voxels whose matrices are in memory at a time.
CHUNK = 100_000
#: Largest radius of a patch, as part of the scan's size (cube root of its volume).
LARGEST_PATCH = 0.1
#: Percentiles of the query and of an atlas between which its contrast is measured.
CONTRAST = (0.5, 99.5)
#: What joint label fusion makes negative or almost nothing is raised to this: on a label that only some of the atlases
#: have, the weights of these decide alone.
LEAST_WEIGHT = 0.01
#: Memberships that differ by less than this are one opinion.
SAME_OPINION = 0.02


@dataclass(frozen=True)
class PatchSettings:
    """What patches are compared; the defaults were chosen in docs/decisions/0015-several-atlases.md.

    Parameters
    ----------
    spacing_mm : float
        Weights are computed on voxels no smaller than this; finer grids get them by interpolation.
    patch_radius_mm, search_radius_mm : float
        Half the edge of patch and search window, rounded to whole voxels along each axis.
    alpha : float
        a of Eq. 12, relative to the mean of M's diagonal: keeps M invertible.
    beta : float
        b of Eq. 14.
    noise : float
        Least standard deviation that a patch is divided by, as part of the image's contrast: in plain tissue there is
        nothing to compare but noise.
    """

    spacing_mm: float = 3.0
    patch_radius_mm: float = 12.0
    search_radius_mm: float = 0.0
    alpha: float = 1.0
    beta: float = 1.0
    noise: float = 0.05

    @classmethod
    def of_scan(cls, grid: Grid) -> PatchSettings:
        """Those of a body, or the same part of a smaller scan."""
        size = float(np.cbrt(np.prod(grid.extent_mm)))
        small = min(1.0, LARGEST_PATCH * size / cls.patch_radius_mm)
        return cls(spacing_mm=small * cls.spacing_mm, patch_radius_mm=small * cls.patch_radius_mm)


def joint_weights(matrix: np.ndarray, alpha: float) -> np.ndarray:
    """Weights (..., n) that sum to 1 and minimise the expected error of a weighted vote, from M (..., n, n); Eq. 9."""
    n = matrix.shape[-1]
    diagonal = np.trace(matrix, axis1=-2, axis2=-1)[..., None, None] / n
    regular = matrix.astype(np.float64) + (alpha * diagonal + 1e-12) * np.eye(n)
    solved = np.linalg.solve(regular, np.ones((*matrix.shape[:-1], 1)))[..., 0]
    return solved / solved.sum(axis=-1, keepdims=True)


def local_weights(matrix: np.ndarray, beta: float) -> np.ndarray:
    """Weights (..., n) that sum to 1 and fall with each atlas's own difference, from sums (..., n, n)."""
    own = np.diagonal(matrix, axis1=-2, axis2=-1).astype(np.float64)
    # Of identical patches the one at hand counts all; no division by zero.
    inverse = (own + 1e-6 * own.max(axis=-1, keepdims=True) + 1e-12) ** -beta
    return inverse / inverse.sum(axis=-1, keepdims=True)


def patch_weights(
    query: Volume,
    atlases: Sequence[WarpedAtlas],
    *,
    joint: bool,
    trust: Sequence[float] | None = None,
    settings: PatchSettings | None = None,
) -> tuple[np.ndarray, list[float]]:
    """Weight of each atlas at each voxel of the part.

    Parameters
    ----------
    query : Volume
        The part of the query.
    atlases : sequence of WarpedAtlas
        On the same part, at least two.
    joint : bool
        Joint label fusion, or locally weighted voting.
    trust : sequence of float, optional
        Factor for each atlas as a whole.
    settings : PatchSettings, optional
        What is compared.

    Returns
    -------
    numpy.ndarray
        float32, (n, *shape of the part), sums of 1; equal where all atlases say the same.
    list of float
        Mean weight of each atlas where they differ.
    """
    settings = settings or PatchSettings()
    grid = query.grid.with_spacing(_coarser(query.grid.spacing, settings.spacing_mm))
    images = [_on(grid, Volume(_scaled(image), query.grid)) for image in (query.data, *(a.image for a in atlases))]
    disputed = _on(grid, Volume(_disputed(atlases).astype(np.float32), query.grid)) > 0
    found = np.full((len(atlases), *grid.shape), 1.0 / len(atlases), dtype=np.float32)
    voxels = np.argwhere(disputed)
    compare = _Comparison(images, grid, settings)
    for start in range(0, len(voxels), CHUNK):
        chunk = voxels[start : start + CHUNK]
        sums = compare(chunk)
        weights = joint_weights(sums**settings.beta, settings.alpha) if joint else local_weights(sums, settings.beta)
        weights = np.maximum(weights, LEAST_WEIGHT) * (1.0 if trust is None else np.asarray(trust))
        found[(slice(None), *chunk.T)] = (weights / weights.sum(axis=-1, keepdims=True)).T
    means = found[:, disputed].mean(axis=1) if len(voxels) else found[:, 0, 0, 0]
    return np.stack([_finer(weight, grid, query.grid) for weight in found]), [float(mean) for mean in means]


def _coarser(spacing: np.ndarray, least: float) -> np.ndarray:
    """Spacing per axis, raised to `least` where that saves something."""
    return np.where(spacing * 1.2 < least, least, spacing)


def _on(grid: Grid, volume: Volume) -> np.ndarray:
    return volume.data if grid.matches(volume.grid) else resample_image(volume, grid, antialias=True).data


def _finer(weight: np.ndarray, grid: Grid, finer: Grid) -> np.ndarray:
    """Linear interpolation onto a grid along the same axes."""
    if grid.matches(finer):
        return weight
    corner = grid.to_voxel(finer.to_world((0, 0, 0)))
    step = finer.spacing / grid.spacing
    return ndimage.affine_transform(weight, step, corner, finer.shape, order=1, mode="nearest", prefilter=False)


def _scaled(image: np.ndarray) -> np.ndarray:
    """Intensities in units of the contrast, float32."""
    low, high = np.percentile(image, CONTRAST)
    return ((np.clip(image, low, high) - low) / max(high - low, 1e-6)).astype(np.float32)


def _disputed(atlases: Sequence[WarpedAtlas]) -> np.ndarray:
    """Where two atlases differ on any label; elsewhere no weights could change the outcome."""
    out = np.zeros(atlases[0].image.shape, dtype=bool)
    for value in labels_of(atlases):
        box = label_box(atlases, value)
        if box is None:
            continue
        low = high = atlases[0].membership(value, box)
        for atlas in atlases[1:]:
            membership = atlas.membership(value, box)
            low, high = np.minimum(low, membership), np.maximum(high, membership)
        out[box] |= high - low > SAME_OPINION
    return out


class _Comparison:
    """Patches of the query and of the atlases, compared around any voxels."""

    def __init__(self, images: Sequence[np.ndarray], grid: Grid, settings: PatchSettings) -> None:
        patch = np.round(settings.patch_radius_mm / grid.spacing).astype(int)
        search = np.round(settings.search_radius_mm / grid.spacing).astype(int)
        self._margin = patch + search
        padded = [np.pad(image, [(m, m) for m in self._margin], mode="edge") for image in images]
        self._strides = np.array([padded[0].shape[1] * padded[0].shape[2], padded[0].shape[2], 1])
        self._query, self._atlases = padded[0].ravel(), np.stack([p.ravel() for p in padded[1:]])
        self._patch, self._search = (_offsets(radius) @ self._strides for radius in (patch, search))
        self._least = np.float32(settings.noise * np.sqrt(self._patch.size))

    def __call__(self, voxels: np.ndarray) -> np.ndarray:
        """Sums (n, atlases, atlases) of Eq. 14 at voxels (n, 3), before the exponent."""
        at = (voxels + self._margin) @ self._strides
        out = np.empty((len(at), len(self._atlases), len(self._atlases)), dtype=np.float32)
        cost = len(at) * self._patch.size * self._search.size
        run_slabs(
            joint_differences,
            *(len(at), cost),
            *(self._query, self._atlases, at, self._patch, self._search, self._least, out),
        )
        return out


def _offsets(radius: np.ndarray) -> np.ndarray:
    """Offsets (m, 3) of a box of voxels, the middle first."""
    axes = [np.arange(-r, r + 1) for r in radius]
    offsets = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return offsets[np.argsort(np.abs(offsets).sum(axis=1), kind="stable")]
