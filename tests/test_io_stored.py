from __future__ import annotations

import numpy as np
import pytest

from atlassegfm.errors import GeometryError
from atlassegfm.io.stored import StoredImage, make_grid
from atlassegfm.volume import Grid

GRID = Grid((2, 3, 4), np.eye(4))


def test_values_are_scaled_in_float64_and_stored_natively():
    stored = StoredImage(np.full(GRID.shape, 2**24 + 1, dtype=">i4", order="F"), GRID, slope=2.0, inter=1.0)
    assert stored.scaled
    values = stored.values(np.float64)
    assert values.dtype.isnative
    assert values.flags.c_contiguous
    assert (values == 2 * (2**24 + 1) + 1).all()


def test_unscaled_values_keep_their_bits():
    data = np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)
    stored = StoredImage(np.asfortranarray(data), GRID)
    assert not stored.scaled
    assert np.array_equal(stored.values(np.float32), data)


def test_grid_errors_name_the_file():
    with pytest.raises(GeometryError, match=r"^x\.nii: .*; set a valid"):
        make_grid("x.nii", GRID.shape, np.zeros((4, 4)))
