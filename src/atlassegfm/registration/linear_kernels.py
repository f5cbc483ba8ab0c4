"""Compiled sums of the linear step: moments of two images, and the normal equations of a motion.

Images are (C, I, J, K) float32; sums are taken in double precision, in one order.
"""

from __future__ import annotations

import numpy as np

from atlassegfm.compiled import compiled

#: Columns of the normal equations: nine of the linear part, three of the shift, gain, offset.
COLUMNS = 14


@compiled
def moments(f, m, seen):  # noqa: ANN001, ANN201
    """Per channel the sums of 1, f, m, ff, mm, fm over the voxels seen: (C, 6)."""
    channels, ni, nj, nk = f.shape
    out = np.zeros((channels, 6), np.float64)
    for c in range(channels):
        for i in range(ni):
            for j in range(nj):
                n = sf = sm = sff = smm = sfm = np.float32(0.0)
                for k in range(nk):
                    w = seen[i, j, k]
                    a, b = w * f[c, i, j, k], w * m[c, i, j, k]
                    n += w
                    sf += a
                    sm += b
                    sff += a * a
                    smm += b * b
                    sfm += a * b
                out[c, 0] += n
                out[c, 1] += sf
                out[c, 2] += sm
                out[c, 3] += sff
                out[c, 4] += smm
                out[c, 5] += sfm
    return out


@compiled
def mean_residual(f, m, seen, scale, gain, offset):  # noqa: ANN001, ANN201
    """Mean of |scale * f - gain * m - offset| of one channel (I, J, K) over the voxels seen."""
    ni, nj, nk = f.shape
    total, number = 0.0, 0.0
    for i in range(ni):
        for j in range(nj):
            row, n = np.float32(0.0), np.float32(0.0)
            for k in range(nk):
                row += seen[i, j, k] * abs(scale * f[i, j, k] - gain * m[i, j, k] - offset)
                n += seen[i, j, k]
            total += row
            number += n
    return total / max(number, 1.0)


@compiled
def normal_equations(f, m, seen, slopes, to_moving, to_point, scale, gain, offset, limit, normal, rhs):  # noqa: ANN001, ANN201
    """Add one channel's weighted equations of linear part, shift, gain and offset to `normal` (14, 14), `rhs` (14).

    Parameters
    ----------
    f, m, seen : array, shape (I, J, K)
        Fixed values, moving values where the matrix puts them, and 1 where these are known.
    slopes : array, shape (3, A, B, C)
        Derivative of the moving image along the world axes.
    to_moving, to_point : array, shape (3, 4)
        Fixed voxel to moving voxel, and to the moving point relative to the centre in units of the scale.
    scale, gain, offset : float
        The residual is ``scale * f - gain * m - offset``.
    limit : float
        Residuals beyond it lose weight (Huber).
    normal, rhs : array
        Summed into.
    """
    ni, nj, nk = f.shape
    # Column by column over a plane's voxels: sums over these are what the processor does eight at a time.
    columns = np.empty((COLUMNS, nj * nk), np.float32)
    weights, residuals = np.empty(nj * nk, np.float32), np.empty(nj * nk, np.float32)
    slope, y = np.empty(3, np.float32), np.empty(3, np.float32)
    for i in range(ni):
        n = 0
        for j in range(nj):
            for k in range(nk):
                if seen[i, j, k] == 0.0:
                    continue
                at_i, at_j, at_k = np.float32(i), np.float32(j), np.float32(k)
                _slope_at(slopes, to_moving, at_i, at_j, at_k, slope)
                residual = scale * f[i, j, k] - gain * m[i, j, k] - offset
                residuals[n] = residual
                weights[n] = min(limit / max(abs(residual), np.float32(1e-6)), np.float32(1.0))
                for a in range(3):
                    y[a] = to_point[a, 0] * at_i + to_point[a, 1] * at_j + to_point[a, 2] * at_k + to_point[a, 3]
                for a in range(3):
                    for b in range(3):
                        columns[3 * a + b, n] = gain * slope[a] * y[b]
                    columns[9 + a, n] = gain * slope[a]
                columns[12, n], columns[13, n] = m[i, j, k], 1.0
                n += 1
        _add_products(columns, weights, residuals, n, normal, rhs)


@compiled
def _slope_at(slopes, to_moving, i, j, k, out):  # noqa: ANN001, ANN202
    """Trilinear sample of (3, A, B, C) at the place of fixed voxel (i, j, k), into `out` (3)."""
    _, na, nb, nc = slopes.shape
    zero, one = np.float32(0.0), np.float32(1.0)
    x = to_moving[0, 0] * i + to_moving[0, 1] * j + to_moving[0, 2] * k + to_moving[0, 3]
    y = to_moving[1, 0] * i + to_moving[1, 1] * j + to_moving[1, 2] * k + to_moving[1, 3]
    z = to_moving[2, 0] * i + to_moving[2, 1] * j + to_moving[2, 2] * k + to_moving[2, 3]
    x = min(max(x, zero), np.float32(na - 1))
    y = min(max(y, zero), np.float32(nb - 1))
    z = min(max(z, zero), np.float32(nc - 1))
    a0, b0, c0 = int(x), int(y), int(z)
    a1, b1, c1 = min(a0 + 1, na - 1), min(b0 + 1, nb - 1), min(c0 + 1, nc - 1)
    x, y, z = x - np.float32(a0), y - np.float32(b0), z - np.float32(c0)
    for n in range(3):
        v00 = slopes[n, a0, b0, c0] * (one - z) + slopes[n, a0, b0, c1] * z
        v01 = slopes[n, a0, b1, c0] * (one - z) + slopes[n, a0, b1, c1] * z
        v10 = slopes[n, a1, b0, c0] * (one - z) + slopes[n, a1, b0, c1] * z
        v11 = slopes[n, a1, b1, c0] * (one - z) + slopes[n, a1, b1, c1] * z
        out[n] = (v00 * (one - y) + v01 * y) * (one - x) + (v10 * (one - y) + v11 * y) * x


@compiled
def _add_products(columns, weights, residuals, count, normal, rhs):  # noqa: ANN001, ANN202
    """Add columns @ diag(weights) @ columns.T to `normal` and columns @ diag(weights) @ residuals to `rhs`.

    Of the last axis of each the first `count` entries hold.
    """
    weighted = np.empty_like(weights)
    for a in range(len(columns)):
        for n in range(count):
            weighted[n] = weights[n] * columns[a, n]
        total = np.float32(0.0)
        for n in range(count):
            total += weighted[n] * residuals[n]
        rhs[a] += total
        for b in range(a, len(columns)):
            total = np.float32(0.0)
            for n in range(count):
                total += weighted[n] * columns[b, n]
            normal[a, b] += total
            if b > a:
                normal[b, a] += total
