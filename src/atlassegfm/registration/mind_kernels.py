"""Compiled loops of MIND-SSC, plane by plane; to the bit what `mind` computes by shifted images (see there)."""

from __future__ import annotations

import numpy as np

from atlassegfm.compiled import compiled_exactly


@compiled_exactly
def self_similarities(image, pairs, out, first, last):  # noqa: ANN001, ANN201
    """Mean squared differences of the patches at pairs of neighbours, less the least of a voxel, into (C, I, J, K).

    `image` is (I, J, K); `pairs` (C, 2) are of the six neighbours: before and after along each axis.
    Slabs are planes i.
    """
    ni, nj, nk = image.shape
    count = len(pairs)
    near, ring = np.empty((6, nj, nk), np.float32), np.empty((3, count, nj, nk), np.float32)
    across, along, least = np.empty((nj, nk), np.float32), np.empty((1, nk), np.float32), np.empty((nj, nk), np.float32)
    for plane in range(max(0, first - 1), min(ni, last + 1)):
        _differences(image, plane, pairs, near, ring[plane % 3])
        if first <= plane - 1:
            _patches(ring, plane - 1, ni, across, along, least, out)
    if last == ni:
        _patches(ring, ni - 1, ni, across, along, least, out)


@compiled_exactly
def _differences(image, i, pairs, near, out):  # noqa: ANN001, ANN202
    """Squared differences (C, J, K) of the neighbours of each voxel in plane i; border values beyond the image."""
    ni, nj, nk = image.shape
    last, before, after = nk - 1, max(i - 1, 0), min(i + 1, ni - 1)
    for j in range(nj):
        left, right = max(j - 1, 0), min(j + 1, nj - 1)
        for k in range(nk):
            near[0, j, k], near[1, j, k] = image[before, j, k], image[after, j, k]
            near[2, j, k], near[3, j, k] = image[i, left, k], image[i, right, k]
        near[4, j, 0], near[5, j, last] = image[i, j, 0], image[i, j, last]
        for k in range(last):
            near[4, j, k + 1], near[5, j, k] = image[i, j, k], image[i, j, k + 1]
    for n in range(len(pairs)):
        one, other = near[pairs[n, 0]], near[pairs[n, 1]]
        for j in range(nj):
            for k in range(nk):
                apart = one[j, k] - other[j, k]
                out[n, j, k] = apart * apart


@compiled_exactly
def _patches(ring, i, ni, across, along, least, out):  # noqa: ANN001, ANN202
    """Plane i of `out` from the squared differences of the planes around it: plane p is in ``ring[p % 3]``."""
    _, count, nj, nk = ring.shape
    planes = np.float32(1 + (i > 0) + (i + 1 < ni))
    for j in range(nj):
        for k in range(nk):
            least[j, k] = np.float32(np.inf)
    for n in range(count):
        _added(ring[i % 3, n], ring[(i + 1) % 3, n], ring[(i - 1) % 3, n], i + 1 < ni, i > 0, across)
        for j in range(nj):
            after, before = min(j + 1, nj - 1), max(j - 1, 0)
            rows = across[j : j + 1], across[after : after + 1], across[before : before + 1]
            _added(rows[0], rows[1], rows[2], j + 1 < nj, j > 0, along)
            voxels = planes * np.float32(1 + (j > 0) + (j + 1 < nj))
            _patches_of_row(along[0], voxels, least[j], out[n, i, j])
    for n in range(count):
        for j in range(nj):
            for k in range(nk):
                out[n, i, j, k] -= least[j, k]


@compiled_exactly
def _added(here, after, before, has_after, has_before, out):  # noqa: ANN001, ANN202
    """Sum of an array (J, K) and of those of its neighbours that there are."""
    nj, nk = out.shape
    for j in range(nj):
        if has_after and has_before:
            for k in range(nk):
                out[j, k] = (here[j, k] + after[j, k]) + before[j, k]
        elif has_after:
            for k in range(nk):
                out[j, k] = here[j, k] + after[j, k]
        elif has_before:
            for k in range(nk):
                out[j, k] = here[j, k] + before[j, k]
        else:
            for k in range(nk):
                out[j, k] = here[j, k]


@compiled_exactly
def _patches_of_row(along, voxels, least, out):  # noqa: ANN001, ANN202
    """Means over patches from a row of sums over the other axes, of so many `voxels`; the least so far is kept."""
    nk = len(along)
    inner, last = np.float32(3.0) * voxels, nk - 1
    for k in range(1, last):
        out[k] = ((along[k] + along[k + 1]) + along[k - 1]) / inner
    if nk > 1:
        out[0] = (along[0] + along[1]) / (np.float32(2.0) * voxels)
        out[last] = (along[last] + along[last - 1]) / (np.float32(2.0) * voxels)
    else:
        out[0] = along[0] / voxels
    for k in range(nk):
        least[k] = min(out[k], least[k])
