"""Folds are smoothed away, and only they."""

import numpy as np
import pytest
import torch

from atlassegfm.registration.grids import determinant
from atlassegfm.registration.operators import CompiledOperators, TorchOperators
from atlassegfm.registration.unfold import unfolded


def waves(amplitude):
    """A smooth displacement (3, 24, 20, 22), `amplitude` voxels high."""
    at = torch.from_numpy(np.indices((24, 20, 22)).astype(np.float32))
    return amplitude * torch.sin(at.flip(0) / 3.0)


@pytest.mark.parametrize("ops", [CompiledOperators(), TorchOperators()])
def test_a_map_that_folds_nowhere_is_left_as_it_is(ops):
    u = waves(1.0)
    out, percent = unfolded(ops, u)
    assert out is u
    assert percent == 0.0


@pytest.mark.parametrize("ops", [CompiledOperators(), TorchOperators()])
def test_folds_go_and_the_rest_stays(ops):
    u = waves(0.5)
    u[0, 11:14, 9:12, 9:12] += torch.tensor([4.0, 0.0, -4.0])[:, None, None]  # planes change places
    assert (determinant(u) <= 0).any()
    out, percent = unfolded(ops, u)
    assert percent == 0.0
    assert (determinant(out) > 0).all()
    far = torch.ones(u.shape[1:], dtype=torch.bool)
    far[2:23, 1:20, 1:20] = False
    assert torch.equal(out[:, far], u[:, far])


def test_what_cannot_be_mended_is_reported():
    # A mirror of the whole image: there is no untangled neighbourhood to be smoothed into.
    u = -2.0 * torch.from_numpy(np.indices((40, 40, 40)).astype(np.float32))
    assert unfolded(CompiledOperators(), u)[1] > 10.0
