"""Losses of the test-time network: known values, and least where the images match."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlassegfm.registration import similarity
from atlassegfm.registration.options import NETWORK_SIMILARITIES
from atlassegfm.registration.similarity import SIMILARITIES, local_correlation, mean_squares, mutual_information


def images(shape=(14, 12, 13)):
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 1, *shape, generator=generator)
    f = torch.nn.functional.avg_pool3d(noise, 3, 1, 1)[0, 0]
    return (f - f.min()) / (f.max() - f.min())


def test_every_name_has_a_weight_and_a_function():
    assert set(SIMILARITIES) == set(NETWORK_SIMILARITIES)


@pytest.mark.parametrize("name", SIMILARITIES)
def test_a_match_is_better_than_a_shift_and_the_slope_is_right(name):
    torch.manual_seed(0)
    f, mask = images(), torch.ones(14, 12, 13)
    loss = SIMILARITIES[name](f, mask)
    assert loss(f) < loss(torch.roll(f, 1, 0)) < loss(torch.roll(f, 3, 1)) + 0.2
    moving = (0.7 * torch.roll(f, 1, 0) + 0.1).double().requires_grad_()
    exact = SIMILARITIES[name](f.double(), mask.double())
    torch.manual_seed(1)
    (slope,) = torch.autograd.grad(exact(moving), moving)
    step = 1e-5 * torch.randn(moving.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    values = []
    for sign in (1, -1):
        torch.manual_seed(1)
        values.append(float(exact((moving + sign * step).detach())))
    assert (values[0] - values[1]) / 2 == pytest.approx(float((slope * step).sum()), rel=2e-2)


def test_mean_squares_counts_the_mask_only():
    f, mask = torch.zeros(4, 4, 4), torch.zeros(4, 4, 4)
    mask[:2] = 1
    warped = torch.full((4, 4, 4), 0.5)
    warped[3] = 9.0
    assert float(mean_squares(f, mask)(warped)) == pytest.approx(0.25)


def test_local_correlation_is_blind_to_gain_and_offset():
    f, mask = images(), torch.ones(14, 12, 13)
    loss = local_correlation(f, mask)
    assert float(loss(f)) == pytest.approx(-1.0, abs=0.01)
    assert float(loss(0.5 - 0.4 * f)) == pytest.approx(-1.0, abs=0.01)  # the square does not see the sign
    hidden = f.clone()
    hidden[:5] = 0.123
    mask[:5] = 0
    assert float(local_correlation(f, mask)(hidden)) == pytest.approx(-1.0, abs=0.01)


def test_mutual_information_of_equal_and_unrelated_images():
    # A picture of two equally frequent values shares ln 2 with any one-to-one recolouring of itself.
    torch.manual_seed(0)
    halves = torch.zeros(20, 20, 20)
    halves[10:] = 1.0
    loss = mutual_information(halves, torch.ones(20, 20, 20))
    assert float(loss(halves)) == pytest.approx(-np.log(2), abs=1e-3)
    assert float(loss(1.0 - halves)) == pytest.approx(-np.log(2), abs=1e-3)
    assert float(loss(halves.transpose(0, 1))) == pytest.approx(0.0, abs=2e-3)
    assert float(loss(torch.full((20, 20, 20), 0.3))) == pytest.approx(0.0, abs=1e-6)


def test_mutual_information_draws_from_the_mask(monkeypatch):
    monkeypatch.setattr(similarity, "MI_SAMPLES", 500)
    torch.manual_seed(0)
    f, mask = images(), torch.zeros(14, 12, 13)
    mask[4:] = 1
    changed = f.clone()
    changed[:4] = 0.9
    loss = mutual_information(f, mask)
    torch.manual_seed(5)
    first = loss(f)
    torch.manual_seed(5)
    assert loss(changed) == first
    assert loss(f) != first  # others were drawn
