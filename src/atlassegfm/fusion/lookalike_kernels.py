"""Compiled comparison of the patches of two images, and the vote of those that look alike."""

from __future__ import annotations

import numpy as np

from atlassegfm.compiled import compiled


@compiled
def vote(query, atlas, label, reach, patch, width, least, out, first, last):  # noqa: ANN001, ANN201
    """Fill `out` (I, J, K) with the mean of `label` over the window, weighted by how alike the patches are.

    `query`, `atlas` and `label` are float32 with a border of ``reach + patch`` voxels (three integers each) at every
    end. A patch weighs ``exp(-d / (width * (d0 + least)))``: d is its mean squared difference from the query's, d0 the
    smallest of the window. Works on planes `first` to `last` of the first axis, touches no others.
    """
    (ri, rj, rk), (pi, pj, pk) = reach, patch
    nj, nk = out.shape[1:]
    wj, wk = nj + 2 * pj, nk + 2 * pk
    count = (2 * ri + 1) * (2 * rj + 1) * (2 * rk + 1)
    scale = np.float32(1.0 / ((2 * pi + 1) * (2 * pj + 1) * (2 * pk + 1)))
    apart = np.empty((count, nj, nk), np.float32)
    square, columns = np.empty((wj, wk), np.float32), np.empty(wk, np.float32)
    fall, weights, votes = np.empty(nk, np.float32), np.empty(nk, np.float32), np.empty(nk, np.float32)
    for i in range(first, last):
        at = 0
        for a in range(-ri, ri + 1):
            for b in range(-rj, rj + 1):
                for c in range(-rk, rk + 1):
                    for j in range(wj):
                        square[j] = np.float32(0.0)
                        for p in range(i + ri, i + ri + 2 * pi + 1):
                            for k in range(wk):
                                step = query[p, rj + j, rk + k] - atlas[p + a, rj + j + b, rk + k + c]
                                square[j, k] += step * step
                    for j in range(nj):
                        columns[:] = np.float32(0.0)
                        for p in range(2 * pj + 1):
                            for k in range(wk):
                                columns[k] += square[j + p, k]
                        apart[at, j] = np.float32(0.0)
                        for p in range(2 * pk + 1):
                            for k in range(nk):
                                apart[at, j, k] += columns[k + p]
                    at += 1
        for j in range(nj):
            fall[:] = apart[0, j]
            for at in range(1, count):
                for k in range(nk):
                    fall[k] = min(fall[k], apart[at, j, k])
            for k in range(nk):
                fall[k] = -scale / (width * (scale * fall[k] + least))
            weights[:], votes[:] = np.float32(0.0), np.float32(0.0)
            at = 0
            for a in range(pi, pi + 2 * ri + 1):
                for b in range(j + pj, j + pj + 2 * rj + 1):
                    for c in range(pk, pk + 2 * rk + 1):
                        for k in range(nk):
                            weight = np.exp(fall[k] * apart[at, j, k])
                            weights[k] += weight
                            votes[k] += weight * label[i + a, b, c + k]
                        at += 1
            for k in range(nk):
                out[i, j, k] = votes[k] / weights[k]
