"""Priors that err as registration errs, on small cubes and fast: the training counterpart of a warped atlas label."""

from __future__ import annotations

import numpy as np
import torch

from atlassegfm.builtin.encoding import CLIP_VOXELS, signed_distance
from atlassegfm.builtin.fields import smooth_field
from atlassegfm.registration.grids import identity, sample

#: How often each kind of error comes in training.
KINDS = {
    "perfect": 0.06,
    "displaced": 0.56,
    "resized": 0.14,
    "missing": 0.09,
    "neighbour": 0.09,
    "empty": 0.06,
}
#: Largest root mean square displacement, voxels; small objects are moved less.
MAX_RMS = 6.5


def random_kind(rng: np.random.Generator) -> str:
    """A kind of error out of `KINDS`, by frequency."""
    return str(rng.choice(list(KINDS), p=list(KINDS.values())))


def corrupted(
    rng: np.random.Generator,
    own: np.ndarray,
    rivals: np.ndarray,
    neighbour: np.ndarray,
    kind: str,
    severity: float | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The label and its rivals as a registration would deliver them.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of all that is random.
    own, rivals, neighbour : numpy.ndarray of bool, shape (I, J, K)
        True masks of the label, of all other labels, and of something that touches the label.
    kind : str
        perfect: as they are. displaced: by a smooth field. resized: and too large or too small. missing: and a part
        is lost. neighbour: and the neighbour is taken for the label. empty: the label is lost.
    severity : float, optional
        Root mean square displacement in voxels; drawn from the label's depth and `MAX_RMS` if None.

    Returns
    -------
    tuple of numpy.ndarray of bool
        Prior of the label, prior of its rivals; they do not overlap.
    """
    if kind == "perfect":
        return own, rivals
    wrong = own | neighbour if kind == "neighbour" else own
    own_map = signed_distance(wrong) * CLIP_VOXELS
    if severity is None:
        # Beyond its own depth a label would no longer meet its prior, and nothing could be learnt from it.
        deepest = min(MAX_RMS, 1.0 + 1.2 * float(own_map.max()))
        severity = float(rng.beta(1.2, 1.6)) * deepest
    where = identity(own.shape) + torch.from_numpy(_displacement(rng, own.shape, severity))
    own_map, others = sample(torch.from_numpy(np.stack([own_map, rivals & ~wrong])), where).numpy()
    # Borders that no smooth map explains: the two bodies are not the same.
    own_map += _roughness(rng, own.shape)
    if kind == "resized":
        own_map += np.float32(rng.uniform(-0.45, 0.45) * min(CLIP_VOXELS, 2.0 + float(own_map.max())))
    prior = own_map > 0
    if kind == "missing" and prior.any():
        prior &= _kept(rng, prior)
    if kind == "empty":
        prior[:] = False
    return prior, (others > 0.5) & ~prior


def _displacement(rng: np.random.Generator, shape: tuple[int, ...], rms: float) -> np.ndarray:
    """A field (3, I, J, K) in voxels of `rms` root mean square length, over two scales."""
    coarse, fine = int(rng.integers(1, 4)), int(rng.integers(3, 8))
    share = rng.uniform(0.0, 0.5)
    field = np.stack([smooth_field(rng, shape, coarse) + share * smooth_field(rng, shape, fine) for _ in range(3)])
    size = max(float(np.sqrt((field[:, ::4, ::4, ::4] ** 2).sum(axis=0).mean())), 1e-6)
    return field * np.float32(rms / size)


def _roughness(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return np.float32(rng.uniform(0.0, 0.8)) * smooth_field(rng, shape, int(rng.integers(4, 14)))


def _kept(rng: np.random.Generator, prior: np.ndarray) -> np.ndarray:
    """All but a part of the prior on one side of a bent surface through one of its voxels."""
    voxels = np.argwhere(prior)
    corner = voxels[rng.integers(len(voxels))]
    normal = rng.normal(size=3)
    position = np.indices(prior.shape, dtype=np.float32) - corner[:, None, None, None].astype(np.float32)
    side = np.tensordot((normal / np.linalg.norm(normal)).astype(np.float32), position, axes=1)
    kept = side + 2.0 * smooth_field(rng, prior.shape, 3) > 0
    # The larger part stays.
    return kept if 2 * np.count_nonzero(kept & prior) >= len(voxels) else ~kept
