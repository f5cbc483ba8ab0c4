"""Descents: the same to the bit in one call and step by step, and an end where nothing is won."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlassegfm.registration import descent, kernels
from atlassegfm.registration.descent import Moved, descend
from atlassegfm.registration.grids import smooth
from atlassegfm.registration.knobs import DeformableSettings
from atlassegfm.registration.operators import CompiledOperators, TorchOperators

OPS, KNOBS = CompiledOperators(), DeformableSettings((1,), (60,))


def image(shape, seed, sigma=2.0):
    x = smooth(torch.randn((1, *shape), generator=torch.Generator().manual_seed(seed)), sigma)[0]
    return (x - x.min()) / (x.max() - x.min())


def moved(target, known=None):
    """The target, noisy, turned a little and a voxel elsewhere."""
    matrix = np.eye(4)
    matrix[:3, 3], matrix[0, 1], matrix[1, 0] = (0.4, -1.2, 0.4), 0.05, -0.05
    return Moved((target + 0.02 * image(tuple(target.shape), 7, 0.5)).contiguous(), matrix, known)


def both(monkeypatch, work):
    """What work gives in one call, and step by step."""
    out = []
    for chained in (True, False):
        monkeypatch.setattr(kernels, "alone", lambda values, chained=chained: chained)
        out.append(work())
    return out


@pytest.mark.parametrize("edges", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", [(9, 7, 40), (1, 9, 12), (20, 17, 1), (28, 30, 26)])
def test_one_call_is_its_steps(shape, edges, monkeypatch):
    target = image(shape, 1)
    u = 0.5 * smooth(torch.randn((3, *shape), generator=torch.Generator().manual_seed(2)), 2.0)
    before = u.clone()
    one, other = both(monkeypatch, lambda: descend(OPS, target, moved(target), u, 12, KNOBS, edges))
    assert one.history == other.history
    assert len(one.history) > 1
    assert torch.equal(one.displacement, other.displacement)
    assert torch.equal(u, before)


def test_one_call_is_its_steps_where_part_of_the_target_counts(monkeypatch):
    target, known = image((24, 20, 22), 1), (image((24, 20, 22), 5) > 0.4).float()
    u = torch.zeros(3, *target.shape)
    one, other = both(monkeypatch, lambda: descend(OPS, target, moved(target, known), u, 12, KNOBS))
    everywhere = descend(OPS, target, moved(target), u, 12, KNOBS)
    assert one.history == other.history != everywhere.history
    assert torch.equal(one.displacement, other.displacement)


def test_it_gains_and_ends_with_the_best(monkeypatch):
    target = image((28, 30, 26), 1)
    far = moved(target)
    for found in both(monkeypatch, lambda: descend(OPS, target, far, torch.zeros(3, *target.shape), 60, KNOBS)):
        m, seen = far.under(OPS, found.displacement)
        value = OPS.force(target, m, seen, KNOBS.radius, KNOBS.noise)[0]
        assert value == pytest.approx(max(found.history), rel=1e-6)
        assert value > found.history[0] + 0.1


def test_torch_takes_the_same_steps():
    target = image((20, 22, 18), 1)
    u = torch.zeros(3, *target.shape)
    one, other = (descend(ops, target, moved(target), u, 8, KNOBS, 0.5) for ops in (OPS, TorchOperators()))
    assert one.history == pytest.approx(other.history, rel=1e-4)
    torch.testing.assert_close(one.displacement, other.displacement, atol=5e-3, rtol=0)


@pytest.mark.parametrize("edges", [0.0, 0.5, 1.0])
def test_no_step_for_equal_constant_images(edges, monkeypatch):
    flat = torch.zeros(20, 18, 16)
    u = torch.zeros(3, *flat.shape)
    for found in both(monkeypatch, lambda: descend(OPS, flat, Moved(flat, np.eye(4)), u, 5, KNOBS, edges)):
        assert float(found.displacement.abs().max()) == 0.0
        assert len(found.history) == 1


def test_no_iterations_are_no_steps(monkeypatch):
    target = image((20, 18, 16), 1)
    u = torch.ones(3, *target.shape)
    for found in both(monkeypatch, lambda: descend(OPS, target, moved(target), u, 0, KNOBS)):
        assert found.history == []
        assert torch.equal(found.displacement, u)


def test_the_force_is_mixed_like_the_value():
    target = image((20, 18, 16), 1)
    m, seen = moved(target).under(OPS, torch.zeros(3, *target.shape))
    forces = (
        descent._force(OPS, (target, OPS.edges(target) if edges else None), m, seen, KNOBS, edges)
        for edges in (0.0, 1.0, 0.25)
    )
    (plain, pull), (steep, drag), (value, force) = forces
    assert value == pytest.approx(0.75 * plain + 0.25 * steep)
    torch.testing.assert_close(force, 0.75 * pull + 0.25 * drag)
