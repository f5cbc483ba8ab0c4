"""Compiled comparison of patches: how atlases differ from the query around a voxel, and which of them err together."""

from __future__ import annotations

import numpy as np

from atlassegfm.compiled import compiled


@compiled
def joint_differences(query, atlases, voxels, patch, search, least, out, first, last):  # noqa: ANN001, ANN201
    """Fill ``out[n, i, j]`` with the sum over the patch of ``|A_i - F| |A_j - F|`` around voxel n.

    Patches have zero mean and are divided by their norm, or by `least` where that is larger; each atlas takes its patch
    from that place of the search window where it is most like the query's.

    `query` (N,) and `atlases` (k, N) are flat float32, `voxels` are flat indices whose surroundings lie inside; `patch`
    and `search` are flat offsets, the first of `search` is 0. Works on voxels `first` to `last`, touches no others.
    """
    k, size = atlases.shape[0], patch.size
    target, difference = np.empty(size, np.float32), np.empty((k, size), np.float32)
    for n in range(first, last):
        at = voxels[n]
        mean, norm = _moments(query, at, patch, least)
        for p in range(size):
            target[p] = (query[at + patch[p]] - mean) / norm
        for i in range(k):
            place = _most_like(target, atlases[i], at, patch, search, least)
            mean, norm = _moments(atlases[i], place, patch, least)
            for p in range(size):
                difference[i, p] = abs((atlases[i, place + patch[p]] - mean) / norm - target[p])
        for i in range(k):
            for j in range(i + 1):
                total = np.float32(0.0)
                for p in range(size):
                    total += difference[i, p] * difference[j, p]
                out[n, i, j] = out[n, j, i] = total


@compiled
def _moments(image, at, patch, least):  # noqa: ANN001, ANN202
    """Mean of a patch, and its norm about the mean, no less than `least`."""
    total = np.float32(0.0)
    for p in range(patch.size):
        total += image[at + patch[p]]
    mean = total / np.float32(patch.size)
    square = np.float32(0.0)
    for p in range(patch.size):
        part = image[at + patch[p]] - mean
        square += part * part
    return mean, max(np.sqrt(square), least)


@compiled
def _most_like(target, image, at, patch, search, least):  # noqa: ANN001, ANN202
    """Centre of the patch that differs least from `target`; the middle of the window when others are no better."""
    place, smallest = at, np.float32(np.inf)
    for s in range(search.size):
        here = at + search[s]
        mean, norm = _moments(image, here, patch, least)
        cost = np.float32(0.0)
        for p in range(patch.size):
            part = (image[here + patch[p]] - mean) / norm - target[p]
            cost += part * part
        if cost < smallest:
            place, smallest = here, cost
    return place
