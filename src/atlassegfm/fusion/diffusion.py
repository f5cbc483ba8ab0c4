"""A fused map that evens out within the regions of an image: diffusion that stops at edges.

Farbman, Fattal, Lischinski, Szeliski, "Edge-preserving decompositions for multi-scale tone and detail manipulation",
ACM TOG 27(3), 2008: the map u nearest to p that is smooth wherever the image is, ``sum (u - p)^2 + L^2 sum w |du|^2``
(Eq. 2), is the solution of a sparse linear system (Eq. 3). The weights w fall with the difference of neighbours'
intensities as in Perona, Malik, "Scale-space and edge detection using anisotropic diffusion", IEEE TPAMI 12(7), 1990
(the first of their two functions, exp(-(d/K)^2)). The guided filter (`edges`) looks no farther than its window; here
neighbours pass on what they know, until something in the image stops them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg

from atlassegfm.resampling import antialiasing_sigma
from atlassegfm.volume import bounding_box

#: How far a voxel's say reaches where no edge is: L, this part of the label's depth (docs/decisions/0005-fusion.md).
PART_OF_DEPTH = 0.25
#: So many lengths L outside of the label nothing is changed any more.
REACH = 3.0
#: The depth is divided into this many voxels; smaller ones are put together.
FINENESS = 10.0
#: Voxels that belong to the label for sure tell the usual difference of neighbours.
SURE = 0.8
#: Relative residual at which the system counts as solved, and the most steps towards it.
TOLERANCE, STEPS = 3e-3, 300
#: The voxels that have a next one along an axis, and those that are the next one.
NEIGHBOURS = slice(None, -1), slice(1, None)


def diffused(probability: np.ndarray, image: np.ndarray, inside: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The map after a diffusion that the image's edges hold up.

    Parameters
    ----------
    probability : numpy.ndarray, 3D float32
        In [0, 1].
    image : numpy.ndarray, same shape
        Intensities; gain and offset do not matter.
    inside : numpy.ndarray, same shape
        Distance from the label's border in mm, positive inside (`soft.signed_distance`).
    spacing : three floats
        Voxel spacing in mm.

    Returns
    -------
    numpy.ndarray
        float32 in [0, 1], same shape.
    """
    size, depth = np.array(spacing, dtype=np.float64), float(inside.max())
    length = PART_OF_DEPTH * depth
    box = bounding_box(inside > -REACH * length)
    shape = np.array(inside[box].shape)
    fewer = np.maximum(1, np.round(shape * size / np.maximum(size, depth / FINENESS))).astype(int)
    before, guide, where = (_shrunk(x[box], fewer) for x in (probability, image, inside))
    domain = where > -REACH * length
    change = np.zeros(before.shape, dtype=np.float32)
    change[domain] = _solved(before, guide, domain, length / (size * shape / fewer)) - before[domain]
    out = probability.copy()
    out[box] = np.clip(out[box] + _zoomed(change, shape), 0.0, 1.0)
    return out


def _solved(before: np.ndarray, guide: np.ndarray, domain: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Solution (n,) on the voxels of the domain; `length` is L in voxels of each axis."""
    number, count = np.full(domain.shape, -1), int(np.count_nonzero(domain))
    number[domain] = np.arange(count)
    sure = before >= min(SURE, float(before.max()))
    first, second, weights = [], [], []
    for axis in range(3):
        here, there = (tuple(part if a == axis else slice(None) for a in range(3)) for part in NEIGHBOURS)
        linked = domain[here] & domain[there]
        difference = np.abs(guide[there] - guide[here])
        usual = _usual(difference[sure[here] & sure[there]], difference.max(initial=0.0))
        first.append(number[here][linked])
        second.append(number[there][linked])
        weights.append(length[axis] ** 2 * np.exp(-0.5 * (difference[linked] / usual) ** 2))
    pairs = (np.concatenate(first), np.concatenate(second))
    links = sparse.coo_matrix((np.concatenate(weights).astype(np.float64), pairs), shape=(count, count)).tocsr()
    links = links + links.T
    diagonal = 1.0 + np.asarray(links.sum(axis=1)).ravel()
    system, known = sparse.diags(diagonal) - links, before[domain].astype(np.float64)
    return cg(system.tocsr(), known, x0=known, M=sparse.diags(1.0 / diagonal), rtol=TOLERANCE, maxiter=STEPS)[0]


def _usual(differences: np.ndarray, largest: float) -> float:
    """Standard deviation of neighbours' differences, robust against the edges among them."""
    if not differences.size or not largest > 0:
        return np.inf
    # Of an image in whole numbers more than half of them can be 0.
    middle = float(np.median(differences)) / 0.6745
    return max(middle or float(differences.mean()) / 0.7979, 1e-6 * float(largest))


def _shrunk(values: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """On fewer, larger voxels of the same field of view, smoothed against aliasing."""
    sigma = antialiasing_sigma(np.array(values.shape) / shape)
    return _zoomed(ndimage.gaussian_filter(values.astype(np.float32, copy=False), sigma), shape)


def _zoomed(values: np.ndarray, shape: np.ndarray) -> np.ndarray:
    """Linear interpolation onto a grid of another shape and the same field of view."""
    return ndimage.zoom(values, shape / np.array(values.shape), order=1, grid_mode=True, mode="nearest")
