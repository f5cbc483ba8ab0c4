"""Chains of loops compute to the bit what the loops do one by one."""

from __future__ import annotations

import pytest
import torch

from atlassegfm.registration import discrete, kernels
from atlassegfm.registration.grids import smooth
from atlassegfm.registration.operators import CompiledOperators, TorchOperators

OPS = CompiledOperators()
SHAPES = [(9, 7, 40), (1, 9, 12), (20, 17, 1), (28, 40, 30), (35, 36, 45)]


def noise(channels, shape, seed, sigma=1.0):
    return smooth(torch.randn((channels, *shape), generator=torch.Generator().manual_seed(seed)), sigma)


def mask(shape):
    return (noise(1, shape, 9)[0] > -0.1).float()


def smoothed(shape):
    return OPS.smooth(noise(3, shape, 1), 2.0), OPS.smooth_inside(noise(3, shape, 1), 0.5)


def step(shape):
    return (OPS.step(3.0 * noise(3, shape, 2), noise(3, shape, 3), 0.8, 2.0, 0.5),)


def reconciled(shape):
    return (OPS.reconciled(9.0 * noise(3, shape, 4), -8.0 * noise(3, shape, 5), 15),)


def settled(shape):
    costs = discrete.match_costs(noise(12, shape, 6), noise(12, shape, 7), mask(shape), 2)
    return (discrete._settled(OPS, costs, torch.zeros(3, *shape), 2),)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("work", [smoothed, step, reconciled, settled])
def test_a_chain_is_its_loops(work, shape, monkeypatch):
    monkeypatch.setattr(kernels, "alone", lambda values: True)
    chained = work(shape)
    monkeypatch.setattr(kernels, "alone", lambda values: False)
    for one, other in zip(chained, work(shape), strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))


@pytest.mark.parametrize("chained", [True, False])
def test_without_a_force_there_is_no_step(chained, monkeypatch):
    monkeypatch.setattr(kernels, "alone", lambda values: chained)
    u = noise(3, (9, 7, 8), 0)
    assert OPS.step(u, torch.zeros_like(u), 1.0, 2.0, 0.5) is None
    assert TorchOperators().step(u, torch.zeros_like(u), 1.0, 2.0, 0.5) is None


@pytest.mark.parametrize("chained", [True, False])
def test_a_force_that_is_no_number_shows(chained, monkeypatch):
    monkeypatch.setattr(kernels, "alone", lambda values: chained)
    u = noise(3, (9, 7, 8), 0)
    broken = u.clone()
    broken[1, 4, 3, 2] = float("nan")
    assert torch.isnan(OPS.step(u, broken, 1.0, 2.0, 0.5)).any()


def test_what_is_given_stays_as_it_is():
    there, back, pull = noise(3, (9, 7, 8), 0), noise(3, (9, 7, 8), 1), noise(3, (9, 7, 8), 2)
    before = there.clone(), back.clone(), pull.clone()
    OPS.reconciled(there, back, 3)
    OPS.step(there, pull, 1.0, 2.0, 0.5)
    assert all(torch.equal(*pair) for pair in zip((there, back, pull), before, strict=True))
