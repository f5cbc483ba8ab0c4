"""Several registered atlases into one label map: joint label fusion, and the majority vote it has to beat.

Joint label fusion: Wang, Suh, Das, Pluta, Craige & Yushkevich, "Multi-atlas segmentation with joint label fusion",
IEEE TPAMI 35 (2013) 611-623. At each voxel x the atlases' votes are weighted by

    w = (M + a I)^-1 1 / (1^T (M + a I)^-1 1)                                               (Eq. 9, 12)
    M(i, j) = < |A_i - F|, |A_j - F| >^b over the patch around x                            (Eq. 14)

so that two atlases that err together count less than two that err apart. Patches are normalised to zero mean and unit
norm before they are compared, and each atlas may take its patch from the best place within a small search window
(section 3.3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from atlassegfm.errors import InputError

#: Voxels whose patches are in memory at a time.
CHUNK = 4000


@dataclass(frozen=True)
class FusionSettings:
    """Parameters of joint label fusion, with the names of the paper.

    Parameters
    ----------
    patch_radius : int
        r_p, voxels.
    search_radius : int
        r_s, voxels; 0 compares patches at the same place only.
    alpha : float
        Weight of the identity added to M, relative to the mean of M's diagonal: keeps M invertible.
    beta : float
        Exponent that turns patch differences into error probabilities.
    """

    patch_radius: int = 2
    search_radius: int = 1
    alpha: float = 0.1
    beta: float = 2.0


def majority_vote(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Most frequent label at each voxel; among equally frequent ones the first atlas that has one of them decides.

    Parameters
    ----------
    labels : sequence of numpy.ndarray of integers, same shape
        One label map per atlas, the most trusted first.
    """
    stack = np.stack(labels)
    best, winner = np.zeros(stack.shape[1:], np.int16), stack[0].copy()
    for candidate in stack:
        votes = (stack == candidate).sum(axis=0, dtype=np.int16)
        better = votes > best
        winner[better] = candidate[better]
        best[better] = votes[better]
    return winner


def joint_label_fusion(
    image: np.ndarray,
    atlas_images: Sequence[np.ndarray],
    atlas_labels: Sequence[np.ndarray],
    settings: FusionSettings | None = None,
) -> np.ndarray:
    """Label map of `image` from atlases that are already on its grid.

    Parameters
    ----------
    image : numpy.ndarray of float, 3D
        The query.
    atlas_images, atlas_labels : sequence of numpy.ndarray, same shape
        Warped images and label maps.
    settings : FusionSettings, optional
        Parameters.

    Returns
    -------
    numpy.ndarray
        Of the label maps' type. Where all atlases agree nothing is computed: no weights could change the outcome.
    """
    settings = settings or FusionSettings()
    if not atlas_labels or len(atlas_images) != len(atlas_labels):
        raise InputError("joint label fusion: expected one image and one label map per atlas, at least one atlas")
    stack = np.stack(atlas_labels)
    result = stack[0].copy()
    disputed = np.argwhere((stack != stack[0]).any(axis=0))
    if len(stack) == 1 or not len(disputed):
        return result
    margin = settings.patch_radius + settings.search_radius
    padded = [np.pad(np.asarray(a, np.float32), margin, mode="edge") for a in (image, *atlas_images)]
    for start in range(0, len(disputed), CHUNK):
        voxels = disputed[start : start + CHUNK]
        weights = _weights(padded[0], padded[1:], voxels + margin, settings)
        votes = stack[(slice(None), *voxels.T)]
        result[tuple(voxels.T)] = _weighted_vote(votes, weights)
    return result


def _weighted_vote(votes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Label with the largest sum of weights; votes (atlases, n), weights (n, atlases)."""
    best, winner = np.full(votes.shape[1], -np.inf), votes[0].copy()
    for value in np.unique(votes):
        total = (weights * (votes == value).T).sum(axis=1)
        # A label nobody voted for has weight 0, which may exceed a negative sum of weights.
        total[~(votes == value).any(axis=0)] = -np.inf
        better = total > best
        winner[better], best[better] = value, total[better]
    return winner


def _weights(
    image: np.ndarray, atlases: Sequence[np.ndarray], voxels: np.ndarray, settings: FusionSettings
) -> np.ndarray:
    """Voting weights (n, atlases) at `voxels` (n, 3) of the padded arrays."""
    offsets = _ball_box(settings.patch_radius)
    target = _patches(image, voxels, offsets)
    differences = []
    for atlas in atlases:
        best, smallest = None, None
        for shift in _ball_box(settings.search_radius):
            difference = np.abs(_patches(atlas, voxels + shift, offsets) - target)
            cost = np.einsum("np,np->n", difference, difference)
            if best is None:
                best, smallest = difference, cost
            else:
                better = cost < smallest
                best[better], smallest[better] = difference[better], cost[better]
        differences.append(best)
    d = np.stack(differences, axis=1)
    return joint_weights(np.einsum("nip,njp->nij", d, d) ** settings.beta, settings.alpha)


def joint_weights(matrix: np.ndarray, alpha: float) -> np.ndarray:
    """Weights (..., n) that sum to 1 and minimise the expected error of a weighted vote, from M (..., n, n)."""
    n = matrix.shape[-1]
    diagonal = np.trace(matrix, axis1=-2, axis2=-1)[..., None, None] / n
    regular = matrix.astype(np.float64) + (alpha * diagonal + 1e-12) * np.eye(n)
    solved = np.linalg.solve(regular, np.ones((*matrix.shape[:-1], 1)))[..., 0]
    return solved / solved.sum(axis=-1, keepdims=True)


def _ball_box(radius: int) -> np.ndarray:
    """Offsets of a cube of voxels, the centre first: (k, 3)."""
    line = np.arange(-radius, radius + 1)
    offsets = np.stack(np.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    return offsets[np.argsort(np.abs(offsets).sum(axis=1), kind="stable")]


def _patches(image: np.ndarray, voxels: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Patches (n, k) around voxels, each with zero mean and unit norm; flat ones are 0."""
    index = voxels[:, None] + offsets
    found = image[index[..., 0], index[..., 1], index[..., 2]]
    found = found - found.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(found, axis=1, keepdims=True)
    return found / np.maximum(norm, 1e-6)
