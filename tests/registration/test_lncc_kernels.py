"""The correlation plane by plane: parts of it join without a seam."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from atlassegfm.registration.lncc_kernels import lncc


@pytest.mark.parametrize("planes", [1, 2, 5, 19])
@pytest.mark.parametrize("radius", [1, 2])
def test_parts_are_the_whole(planes, radius):
    f, m, seen = np.random.default_rng(0).random((3, planes, 8, 9), dtype=np.float32)
    seen = (seen > 0.2).astype(np.float32)

    def found(edges):
        out, value, count = np.zeros((3, *f.shape), np.float32), np.zeros(planes), np.zeros(planes)
        for first, last in pairwise(edges):
            lncc(f, m, seen, (np.float32(1.0),) * (radius + 1), np.float32(1e-3), out, value, count, first, last)
        return out, value, count

    whole = found([0, planes])
    assert np.abs(whole[0]).max() > 0.0
    assert whole[2].sum() == seen.sum()
    for part, other in zip(found(sorted({0, planes // 3, planes // 2, planes})), whole, strict=True):
        np.testing.assert_array_equal(part, other)
