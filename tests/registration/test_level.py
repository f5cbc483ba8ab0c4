"""One level: steps that gain, two directions that agree on images that fit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlassegfm.registration.descent import EDGE_NOISE
from atlassegfm.registration.grids import working_copy
from atlassegfm.registration.knobs import DeformableSettings
from atlassegfm.registration.level import Level

from .phantoms import grid_of, scan, undo, waves
from .test_initialise import scaled

KNOBS = DeformableSettings((1,), (60,))


@pytest.fixture(scope="module")
def pair():
    wave, grid = waves(5.0, 110.0), grid_of((6, 6, 6))
    fixed, moving = scaled(scan(grid)), scaled(scan(grid, lambda p: undo(wave, p), seed=1))
    return working_copy(fixed, 6.0), working_copy(moving, 6.0)


@pytest.fixture(scope="module")
def level(pair):
    return Level(*pair, np.eye(4), torch.device("cpu"))


def test_steps_gain_and_the_best_of_them_is_kept(level):
    found = level.forward(level.start, 60, KNOBS)
    m, seen = level.warped(found.displacement)
    value, _ = level.ops.force(level.f, m, seen, KNOBS.radius, KNOBS.noise)
    assert value == pytest.approx(max(found.history), rel=1e-6)
    assert value > found.history[0] + 0.1


@pytest.mark.parametrize("edges", [0.5, 1.0])
def test_steps_along_edges_bring_the_images_together_too(pair, level, edges):
    """By the intensities' correlation, at which edges alone never look; what is told is the mixture that is climbed."""
    other = Level(*pair, np.eye(4), torch.device("cpu"), edges)
    found = other.forward(other.start, 60, KNOBS)
    before, after = (level.lncc(*level.warped(u), KNOBS) for u in (level.start, found.displacement))
    assert after > before + 0.1
    m, seen = other.warped(found.displacement)
    marks = other.ops.edges(other.f), other.ops.edges(m)
    steep, _ = other.ops.force(*marks, seen, KNOBS.radius, EDGE_NOISE * KNOBS.noise)
    assert max(found.history) == pytest.approx(edges * steep + (1 - edges) * after, rel=1e-5)


def test_both_ways_are_the_same_on_one_thread_and_on_two(level):
    """They are gone side by side where there are threads for it."""
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(level.both_ways(level.start, 10, KNOBS))
    finally:
        torch.set_num_threads(before)
    one, two = found
    assert one.there.history == two.there.history
    assert torch.equal(one.there.displacement, two.there.displacement)
    assert torch.equal(one.back, two.back)
    assert torch.equal(one.mean, two.mean)


def test_there_and_back_agree_where_the_anatomy_is_the_same(level):
    two = level.both_ways(level.start, 60, KNOBS)
    body = level.f > 0.2
    apart = (two.there.displacement - two.back).norm(dim=0)[body].mean()
    assert float(apart) < 0.5 * float(two.there.displacement.norm(dim=0)[body].mean())
    assert (two.mean - two.there.displacement).abs().max() <= (two.back - two.there.displacement).abs().max()


def test_the_backward_displacement_is_inverted(level):
    """Backward from a forward result: it starts at the inverse, so that the two directions begin at one map."""
    u = level.forward(level.start, 10, KNOBS).displacement
    back = level.both_ways(u, 0, KNOBS).back
    inner = (slice(None), *(slice(4, -4),) * 3)
    torch.testing.assert_close(back[inner], u[inner], atol=0.1, rtol=0)
