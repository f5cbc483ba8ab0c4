"""A mask of one slice to closed contours: outer borders, with holes joined to them by keyholes.

Borders run half-way between the centres inside and outside (marching squares at one half), so that a reader that asks
which voxel centres lie inside gets the mask back exactly. One through the outermost centres would shrink every
structure by half a voxel all round.

DICOM knows holes as contours of their own (combined by exclusive or) and as keyholes: one contour that goes along a
cut to the hole, round it and back (PS3.3 C.8.8.6). Readers that fill every contour get a keyhole right as well.
"""

from __future__ import annotations

import numpy as np
from skimage.measure import find_contours


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Closed contours of a mask.

    Parameters
    ----------
    mask : numpy.ndarray of bool, shape (nu, nv)
        Voxels that touch by corners only get contours of their own.

    Returns
    -------
    list of numpy.ndarray, each shape (n, 2)
        Vertices (u, v) in voxels, centres at integers; the last is joined to the first, which is not repeated.
    """
    used = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not used[0].size:
        return []
    low = np.array([used[0][0], used[1][0]])
    cut = mask[used[0][0] : used[0][-1] + 1, used[1][0] : used[1][-1] + 1]
    found = find_contours(np.pad(cut, 1).astype(np.float32), 0.5, fully_connected="low", positive_orientation="high")
    rings = [_corners(ring[:-1] + low - 1) for ring in found]
    outer = [ring for ring in rings if _area(ring) > 0]
    holes = sorted((ring for ring in rings if _area(ring) < 0), key=lambda ring: ring[:, 0].min())
    owners = [_owner(hole, outer) for hole in holes]
    joined = []
    for n, ring in enumerate(outer):
        # From low to high u: what lies on the way to the border has been joined before.
        for hole in (hole for hole, owner in zip(holes, owners, strict=True) if owner == n):
            ring = _keyhole(ring, hole)
        joined.append(ring)
    return joined


def _corners(ring: np.ndarray) -> np.ndarray:
    """A ring without the vertices in the middle of straight lines."""
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return ring[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def _area(ring: np.ndarray) -> float:
    """Signed area; by the orientation that was asked for, above 0 for outer borders and below for holes."""
    u, v = ring.T
    return float(u @ np.roll(v, -1) - v @ np.roll(u, -1)) / 2


def _owner(hole: np.ndarray, outer: list[np.ndarray]) -> int:
    """Index of the smallest outer border round a hole."""
    around = [n for n, ring in enumerate(outer) if _crossings(ring, hole[0])[0].size % 2]
    return min(around, key=lambda n: _area(outer[n]))


def _crossings(ring: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Edges that a ray from a point towards low u crosses, and the u at which it does."""
    start, end = ring, np.roll(ring, -1, axis=0)
    edges = np.flatnonzero((start[:, 1] <= point[1]) != (end[:, 1] <= point[1]))
    rise = (point[1] - start[edges, 1]) / (end[edges, 1] - start[edges, 1])
    at = start[edges, 0] + rise * (end[edges, 0] - start[edges, 0])
    return edges[at < point[0]], at[at < point[0]]


def _keyhole(ring: np.ndarray, hole: np.ndarray) -> np.ndarray:
    """Border and hole as one contour, joined by a cut from the hole's first vertex in u straight to the border."""
    first = int(np.argmin(hole[:, 0]))
    edges, at = _crossings(ring, hole[first])
    nearest = int(np.argmax(at))
    entry = np.array([[at[nearest], hole[first, 1]]])
    around = np.roll(hole, -first, axis=0)
    edge = int(edges[nearest]) + 1
    return np.concatenate([ring[:edge], entry, around, around[:1], entry, ring[edge:]])
