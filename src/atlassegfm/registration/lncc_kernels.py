"""Compiled loops of the local correlation and its gradient, plane by plane; see `operators.lncc_and_gradient`."""

from __future__ import annotations

import numpy as np

from atlassegfm.compiled import compiled, compiled_exactly
from atlassegfm.registration.kernels import convolve_padded, fill, neighbours


@compiled
def lncc(f, m, seen, weights, noise, out, value, count, first, last):  # noqa: ANN001, ANN201
    """Gradient of the summed local correlation by the displacement of `m`, into `out` (3, I, J, K) per voxel.

    Also the sum of the correlations and the number of voxels per plane, into `value` and `count`. `weights` are those
    of the window, centre first. Slabs are planes i. Plane by plane, so that of the window sums no more is ever in
    memory than a window sees: they would be nine times the image.
    """
    ni, nj, nk = f.shape
    radius = len(weights) - 1
    across = 2 * radius + 1
    sums, back = np.empty((across, 6, nj, nk), np.float32), np.empty((across, 3, nj, nk), np.float32)
    windows, fields = np.empty((6, nj, nk), np.float32), np.empty((3, nj, nk), np.float32)
    padded = np.zeros((6, nj + 2 * radius, nk + 2 * radius), np.float32)
    row, ones = np.empty(nk + 2 * radius, np.float32), np.ones(max(nj, nk), np.float32)
    for plane in range(max(0, first - 2 * radius), last + 2 * radius):
        if plane < ni:
            _moments(f[plane], m[plane], seen[plane], padded, weights, ones, row, sums[plane % across])
        middle = plane - radius
        if max(0, first - radius) <= middle < min(ni, last + radius):
            for part in range(6):
                _across_ring(sums, part, weights, middle, ni, windows[part])
            total, voxels = _fields(windows, seen[middle], noise, fields)
            if first <= middle < last:
                value[middle], count[middle] = total, voxels
            for part in range(3):
                fill(fields[part], padded[part], radius)
                convolve_padded(padded[part], weights, ones, ones, row, back[middle % across, part])
        end = middle - radius
        if first <= end < last:
            for part in range(3):
                _across_ring(back, part, weights, end, ni, windows[part])
            _pull(f, m, seen, windows, end, out)


@compiled_exactly
def mean(value, count):  # noqa: ANN001, ANN201
    """The mean correlation from what `lncc` says of each plane."""
    total, voxels = 0.0, 0.0
    for plane in range(len(value)):
        total += value[plane]
        voxels += count[plane]
    return total / max(voxels, 1.0)


@compiled
def _moments(f, m, seen, padded, weights, norms, row, out):  # noqa: ANN001, ANN202
    """Window sums over a plane (J, K) of seen, f, m, ff, mm, fm."""
    nj, nk = f.shape
    radius = len(weights) - 1
    for j in range(nj):
        for k in range(nk):
            s = seen[j, k]
            a, b = s * f[j, k], s * m[j, k]
            padded[0, j + radius, k + radius] = s
            padded[1, j + radius, k + radius] = a
            padded[2, j + radius, k + radius] = b
            padded[3, j + radius, k + radius] = a * f[j, k]
            padded[4, j + radius, k + radius] = b * m[j, k]
            padded[5, j + radius, k + radius] = a * m[j, k]
    for part in range(6):
        convolve_padded(padded[part], weights, norms, norms, row, out[part])


@compiled
def _across_ring(ring, part, weights, i, size, out):  # noqa: ANN001, ANN202
    """Plane i of a convolution along an axis of `size` planes, of which `ring` holds those that the window sees.

    Plane p is in ``ring[p % len(ring), part]``.
    """
    nj, nk = out.shape
    across, radius = len(ring), len(weights) - 1
    here = ring[i % across, part]
    if i >= radius and i + radius < size:
        for j in range(nj):
            for k in range(nk):
                total = weights[0] * here[j, k]
                for r in range(1, len(weights)):
                    total += weights[r] * (ring[(i - r) % across, part, j, k] + ring[(i + r) % across, part, j, k])
                out[j, k] = total
        return
    out[:] = weights[0] * here
    for r in range(1, len(weights)):
        if i >= r:
            out += weights[r] * ring[(i - r) % across, part]
        if i + r < size:
            out += weights[r] * ring[(i + r) % across, part]


@compiled
def _fields(windows, seen, noise, out):  # noqa: ANN001, ANN202
    """From a plane's window sums (6, J, K) the three fields whose window sums make the gradient.

    Returns the sum of the correlations and the number of voxels.
    """
    nj, nk = seen.shape
    one = np.float32(1.0)
    total, voxels = 0.0, 0.0
    for j in range(nj):
        line, number = np.float32(0.0), np.float32(0.0)
        for k in range(nk):
            s = seen[j, k]
            per = one / max(windows[0, j, k], one)
            mean_f, mean_m = windows[1, j, k] * per, windows[2, j, k] * per
            var_f = max(windows[3, j, k] * per - mean_f * mean_f, np.float32(0.0)) + noise
            var_m = max(windows[4, j, k] * per - mean_m * mean_m, np.float32(0.0)) + noise
            cov = windows[5, j, k] * per - mean_f * mean_m
            ratio = cov / var_m
            line += s * cov * ratio / var_f
            number += s
            a = np.float32(2.0) * ratio / var_f * per * s
            b = a * ratio
            out[0, j, k] = a
            out[1, j, k] = b
            out[2, j, k] = b * mean_m - a * mean_f
        total += line
        voxels += number
    return total, voxels


@compiled
def _pull(f, m, seen, windows, i, out):  # noqa: ANN001, ANN202
    """Plane i of the gradient by the displacement, from the window sums (3, J, K) of the three `_fields`."""
    ni, nj, nk = f.shape
    half, last_k = np.float32(0.5), nk - 1
    before, after, wide_i = neighbours(i, ni)
    for j in range(nj):
        left, right, wide_j = neighbours(j, nj)
        for k in range(nk):
            slope = seen[i, j, k] * (f[i, j, k] * windows[0, j, k] - m[i, j, k] * windows[1, j, k] + windows[2, j, k])
            windows[0, j, k] = slope
            out[0, i, j, k] = slope * wide_i * (m[after, j, k] - m[before, j, k])
            out[1, i, j, k] = slope * wide_j * (m[i, right, k] - m[i, left, k])
        for k in range(1, nk - 1):
            out[2, i, j, k] = windows[0, j, k] * half * (m[i, j, k + 1] - m[i, j, k - 1])
        out[2, i, j, 0] = windows[0, j, 0] * (m[i, j, min(1, last_k)] - m[i, j, 0])
        if last_k > 0:
            out[2, i, j, last_k] = windows[0, j, last_k] * (m[i, j, last_k] - m[i, j, last_k - 1])
