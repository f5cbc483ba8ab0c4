"""Compiled inner loops of the registration on a CPU; slabs of them run side by side in threads.

Torch runs the same arithmetic as a chain of passes over memory; fused loops do it several times faster
(docs/decisions/0006-kernels.md). Every kernel takes a range of slabs last, touches no other, and lets go of the
interpreter's lock. Sums are kept per slab and added up in order: results do not depend on the number of threads.
"""

from __future__ import annotations

import numpy as np
import torch

from atlassegfm.compiled import Kernel, compiled, compiled_exactly, run_parts

#: Fewest values that are worth another thread (docs/decisions/0006-kernels.md).
_WORTH_A_THREAD = 100_000


def run_slabs(kernel: Kernel, slabs: int, voxels: int, *arrays: object) -> None:
    """Call ``kernel(*arrays, first, last)`` for all slabs, in as many threads as torch would use."""
    run_parts(kernel, slabs, _threads(voxels), *arrays)


def alone(voxels: int) -> bool:
    """Whether so many values are worth one thread only."""
    return _threads(voxels) <= 1


def _threads(voxels: int) -> int:
    return min(torch.get_num_threads(), voxels // _WORTH_A_THREAD)


@compiled
def warp(image, matrix, shift, out, seen, first, last):  # noqa: ANN001, ANN201
    """Trilinear samples of (C, I, J, K) at matrix (3, 4) times (voxel + shift); border values beyond the array.

    `out` is (C, *shift.shape[1:]); `seen` is 1 within half a voxel of the array, else 0. Slabs are planes of `shift`.
    A place that is no number gives a value that is none.
    """
    channels, ni, nj, nk = image.shape
    rows = (
        (matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[0, 3]),
        (matrix[1, 0], matrix[1, 1], matrix[1, 2], matrix[1, 3]),
        (matrix[2, 0], matrix[2, 1], matrix[2, 2], matrix[2, 3]),
    )
    flat = image.reshape(channels, ni * nj * nk)
    width = shift.shape[3]
    # Places first, then values, row by row: two loops that the processor does several voxels at a time.
    places, parts = np.empty((8, width), np.int32), np.empty((3, width), np.float32)
    for i in range(first, last):
        for j in range(shift.shape[2]):
            _places_of_row(np.float32(i), np.float32(j), shift[:, i, j], rows, (ni, nj, nk), places, parts, seen[i, j])
            for n in range(channels):
                _values_of_row(flat[n], places, parts, out[n, i, j])


@compiled
def _places_of_row(i, j, shift, matrix, shape, places, parts, seen):  # noqa: ANN001, ANN202
    """Flat indices (8, K) of the corners around each place of a row, and how far beyond the first it lies (3, K)."""
    ni, nj, nk = shape
    zero, half, one = np.float32(0.0), np.float32(0.5), np.float32(1.0)
    end_x, end_y, end_z = np.float32(ni - 1), np.float32(nj - 1), np.float32(nk - 1)
    # Read once: the compiler cannot know that what is written below is not the matrix.
    (xa, xb, xc, xd), (ya, yb, yc, yd), (za, zb, zc, zd) = matrix
    for k in range(seen.size):
        a, b, c = i + shift[0, k], j + shift[1, k], np.float32(k) + shift[2, k]
        x = xa * a + xb * b + xc * c + xd
        y = ya * a + yb * b + yc * c + yd
        z = za * a + zb * b + zc * c + zd
        known = (x > -half) & (x < end_x + half) & (y > -half) & (y < end_y + half) & (z > -half) & (z < end_z + half)
        seen[k] = one if known else zero
        wrong = x + y + z  # carries what is no number into the values
        # Written so that what is no number ends at 0, a place that can be read.
        x = (x if x < end_x else end_x) if x > zero else zero
        y = (y if y < end_y else end_y) if y > zero else zero
        z = (z if z < end_z else end_z) if z > zero else zero
        i0, j0, k0 = np.int32(x), np.int32(y), np.int32(z)
        parts[0, k] = x - np.float32(i0) + (wrong - wrong)
        parts[1, k] = y - np.float32(j0)
        parts[2, k] = z - np.float32(k0)
        at = (i0 * np.int32(nj) + j0) * np.int32(nk) + k0
        # At the far border the neighbour is the voxel itself.
        di = np.int32(nj * nk) if i0 < ni - 1 else np.int32(0)
        dj = np.int32(nk) if j0 < nj - 1 else np.int32(0)
        dk = np.int32(1) if k0 < nk - 1 else np.int32(0)
        places[0, k] = at
        places[1, k] = at + dk
        places[2, k] = at + dj
        places[3, k] = at + dj + dk
        places[4, k] = at + di
        places[5, k] = at + di + dk
        places[6, k] = at + di + dj
        places[7, k] = at + di + dj + dk


@compiled
def _values_of_row(v, places, parts, out):  # noqa: ANN001, ANN202
    """Trilinear values of a row from the flat image `v`."""
    for k in range(out.size):
        x, y, z = parts[0, k], parts[1, k], parts[2, k]
        a, b = v[np.uint32(places[0, k])], v[np.uint32(places[1, k])]
        c, d = v[np.uint32(places[2, k])], v[np.uint32(places[3, k])]
        e, f = v[np.uint32(places[4, k])], v[np.uint32(places[5, k])]
        g, h = v[np.uint32(places[6, k])], v[np.uint32(places[7, k])]
        near = (a + z * (b - a)) * (np.float32(1.0) - y) + (c + z * (d - c)) * y
        far = (e + z * (f - e)) * (np.float32(1.0) - y) + (g + z * (h - g)) * y
        out[k] = near + x * (far - near)


@compiled
def neighbours(at, size):  # noqa: ANN001, ANN201
    """Indices before and after one of an axis, itself at the border, and what their difference counts in the slope."""
    before, after = max(at - 1, 0), min(at + 1, size - 1)
    return before, after, np.float32(0.5) if after - before == 2 else np.float32(1.0)


@compiled
def edges(image, out, first, last):  # noqa: ANN001, ANN201
    """Length of the gradient of (I, J, K), per voxel; slabs are planes i."""
    ni, nj, nk = image.shape
    half = np.float32(0.5)
    for i in range(first, last):
        before, after, wide_i = neighbours(i, ni)
        for j in range(nj):
            left, right, wide_j = neighbours(j, nj)
            for k in range(nk):
                a = wide_i * (image[after, j, k] - image[before, j, k])
                b = wide_j * (image[i, right, k] - image[i, left, k])
                out[i, j, k] = a * a + b * b
            for k in range(1, nk - 1):
                c = half * (image[i, j, k + 1] - image[i, j, k - 1])
                out[i, j, k] += c * c
            if nk > 1:
                c = image[i, j, 1] - image[i, j, 0]
                out[i, j, 0] += c * c
                c = image[i, j, nk - 1] - image[i, j, nk - 2]
                out[i, j, nk - 1] += c * c
            for k in range(nk):
                out[i, j, k] = np.sqrt(out[i, j, k])


@compiled_exactly
def longest(v, out, first, last):  # noqa: ANN001, ANN201
    """Largest squared length of the vectors (3, I, J, K) in each plane i; NaN where one of them is none."""
    for i in range(first, last):
        most = np.float32(0.0)
        for j in range(v.shape[2]):
            for k in range(v.shape[3]):
                a, b, c = v[0, i, j, k], v[1, i, j, k], v[2, i, j, k]
                squared = a * a + b * b + c * c
                # What is no number stays: it has to be seen.
                if squared > most or squared != squared:
                    most = squared
        out[i] = most


@compiled
def fill(plane, padded, radius):  # noqa: ANN001, ANN201
    """Copy (J, K) into the middle of an array whose border of `radius` stays zero."""
    nj, nk = plane.shape
    for j in range(nj):
        for k in range(nk):
            padded[j + radius, k + radius] = plane[j, k]


@compiled
def convolve_padded(padded, weights, norm_j, norm_k, row, out):  # noqa: ANN001, ANN201
    """Symmetric convolution of a plane with a border of zeros along both axes, times the norms of rows and columns.

    `weights` is a tuple, centre first: its length is known to the compiler, which unrolls the loop over it.
    """
    nj, nk = out.shape
    radius = len(weights) - 1
    for j in range(nj):
        for k in range(nk + 2 * radius):
            total = weights[0] * padded[j + radius, k]
            for r in range(1, len(weights)):
                total += weights[r] * (padded[j + radius - r, k] + padded[j + radius + r, k])
            row[k] = total * norm_j[j]
        for k in range(nk):
            total = weights[0] * row[k + radius]
            for r in range(1, len(weights)):
                total += weights[r] * (row[k + radius - r] + row[k + radius + r])
            out[j, k] = total * norm_k[k]


@compiled
def _convolve_across(x, weights, norm, i, out):  # noqa: ANN001, ANN202
    """Plane i of the convolution of (I, J, K) along its first axis."""
    ni, nj, nk = x.shape
    radius = len(weights) - 1
    if i >= radius and i + radius < ni:
        for j in range(nj):
            for k in range(nk):
                total = weights[0] * x[i, j, k]
                for r in range(1, len(weights)):
                    total += weights[r] * (x[i - r, j, k] + x[i + r, j, k])
                out[j, k] = total * norm
    else:
        for j in range(nj):
            for k in range(nk):
                out[j, k] = weights[0] * norm * x[i, j, k]
            for r in range(1, len(weights)):
                w = weights[r] * norm
                if i >= r:
                    for k in range(nk):
                        out[j, k] += w * x[i - r, j, k]
                if i + r < ni:
                    for k in range(nk):
                        out[j, k] += w * x[i + r, j, k]


@compiled
def convolve_planes(x, weights, norm_j, norm_k, out, first, last):  # noqa: ANN001, ANN201
    """Convolve (C, I, J, K) along its last two axes; slabs are planes (c, i)."""
    radius = len(weights) - 1
    padded = np.zeros((x.shape[2] + 2 * radius, x.shape[3] + 2 * radius), np.float32)
    row = np.empty(x.shape[3] + 2 * radius, np.float32)
    for n in range(first, last):
        c, i = n // x.shape[1], n % x.shape[1]
        fill(x[c, i], padded, radius)
        convolve_padded(padded, weights, norm_j, norm_k, row, out[c, i])


@compiled
def convolve_across(x, weights, norm_i, out, first, last):  # noqa: ANN001, ANN201
    """Convolve (C, I, J, K) along its second axis; slabs are planes (c, i)."""
    for n in range(first, last):
        c, i = n // x.shape[1], n % x.shape[1]
        _convolve_across(x[c], weights, norm_i[i], i, out[c, i])
