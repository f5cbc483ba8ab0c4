"""The compiled self-similarities, against the definition written out for each voxel."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest

from atlassegfm.registration.mind import NEIGHBOURS, PAIRS
from atlassegfm.registration.mind_kernels import self_similarities

SHAPE = (5, 4, 6)


def written_out(image):
    """Mean squared differences over the patch's voxels inside the image, less the least of the twelve."""
    last = np.array(image.shape) - 1
    out = np.empty((len(PAIRS), *image.shape))
    for at in np.ndindex(image.shape):
        patch = [p for p in (np.add(at, d) for d in product((-1, 0, 1), repeat=3)) if ((p >= 0) & (p <= last)).all()]
        for n, pair in enumerate(PAIRS):
            one, other = ([image[tuple(np.clip(p + NEIGHBOURS[side], 0, last))] for p in patch] for side in pair)
            out[(n, *at)] = np.mean((np.array(one) - other) ** 2)
    return out - out.min(axis=0)


@pytest.mark.parametrize("edges", [(0, 5), (0, 2, 5), (0, 1, 2, 3, 4, 5)])
def test_slabs_give_what_the_definition_says(edges):
    image = np.random.default_rng(0).random(SHAPE).astype(np.float32)
    out = np.full((len(PAIRS), *SHAPE), np.nan, np.float32)
    for first, last in pairwise(edges):
        self_similarities(image, np.array(PAIRS), out, first, last)
    np.testing.assert_allclose(out, written_out(image), atol=1e-6)
