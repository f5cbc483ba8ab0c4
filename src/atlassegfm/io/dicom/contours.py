"""Closed contours to voxels, slice by slice: a voxel belongs to a structure when its centre does.

All contours of a structure in one plane are taken together by the even-odd rule, so that holes work whether they are
drawn as contours of their own or joined to the outer one by a keyhole.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def even_odd(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Mask of the points that lie inside an odd number of polygons.

    A border that runs through a voxel's centre counts on the lower sides and not on the upper ones, so that polygons
    that share a border share no voxel.

    Parameters
    ----------
    polygons : sequence of numpy.ndarray, each shape (n, 2)
        Vertices (u, v) in voxels, centres at integers; the last one is joined to the first.
    shape : tuple of int
        Number of voxels along u and v.

    Returns
    -------
    numpy.ndarray of bool, shape `shape`
    """
    flips = np.zeros((shape[0] + 1, shape[1]), dtype=np.int32)
    for polygon in polygons:
        start, end = polygon, np.roll(polygon, -1, axis=0)
        # An edge crosses the rows between its ends, the lower end included.
        low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
        first = np.clip(np.ceil(low), 0, shape[1]).astype(np.int64)
        last = np.clip(np.ceil(high), 0, shape[1]).astype(np.int64)
        counts = np.maximum(0, last - first)
        edges = np.repeat(np.arange(len(polygon)), counts)
        rows = first[edges] + np.arange(len(edges)) - np.repeat(np.cumsum(counts) - counts, counts)
        rise = (rows - start[edges, 1]) / (end[edges, 1] - start[edges, 1])
        crossing = start[edges, 0] + rise * (end[edges, 0] - start[edges, 0])
        np.add.at(flips, (np.clip(np.ceil(crossing), 0, shape[0]).astype(np.int64), rows), 1)
    return np.cumsum(flips[:-1], axis=0) % 2 == 1


def without_doubles(polygons: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The polygons, of identical ones the first only: drawn twice, they would cancel each other."""
    seen: set[bytes] = set()
    kept = []
    for polygon in polygons:
        key = np.round(polygon, 3).tobytes()
        if key not in seen:
            seen.add(key)
            kept.append(polygon)
    return kept
