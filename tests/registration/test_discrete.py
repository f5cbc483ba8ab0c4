"""The search over discrete displacements: finds what lies far away, the same in torch and compiled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlassegfm.registration import discrete
from atlassegfm.registration.discrete import DiscreteSearch, cheapest, displacements, match_costs
from atlassegfm.registration.discrete_kernels import FINENESS
from atlassegfm.registration.grids import smooth
from atlassegfm.registration.operators import operators
from atlassegfm.volume import Grid, Volume

CPU = torch.device("cpu")
#: More voxels than one thread gets, a single plane, a single line.
SHAPES = [(17, 20, 15), (1, 9, 12), (6, 1, 11), (5, 7, 1), (1, 1, 4)]


def features(shape, seed=0, channels=5):
    return torch.rand((channels, *shape), generator=torch.Generator().manual_seed(seed))


def partly(shape):
    seen = torch.ones(shape)
    seen[: max(1, shape[0] // 3), :, shape[2] // 2 :] = 0.0
    return seen


def volume(data, spacing=2.0):
    return Volume(np.ascontiguousarray(data, dtype=np.float32), Grid(data.shape, np.diag([spacing] * 3 + [1.0])))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("reach", [1, 2])
def test_compiled_and_torch_agree(shape, reach):
    fixed, moving, seen = features(shape), features(shape, 1), partly(shape)
    costs = match_costs(fixed, moving, seen, reach)
    plain = discrete._averaged(discrete._match_costs_torch(fixed, moving, seen, reach))
    assert costs.shape == (*shape[:2], (2 * reach + 1) ** 3, shape[2])
    # Each of the three means is rounded.
    assert costs.dtype == torch.uint16
    assert torch.allclose(costs.float() / FINENESS, plain, atol=1.5 / FINENESS)
    near = 3 * torch.rand((3, *shape), generator=torch.Generator().manual_seed(2)) - 1.5
    for weight in (0.0, 0.02):
        chosen = cheapest(costs, near, weight, reach)
        assert torch.equal(chosen, discrete._cheapest_torch(costs.float(), near, FINENESS * weight, reach))
        assert float(chosen.abs().max()) <= reach


def test_costs_are_in_the_order_of_the_displacements():
    fixed, shift = features((9, 9, 9), channels=8), (1, -2, 0)
    moving = torch.roll(fixed, shift, dims=(1, 2, 3))
    costs = match_costs(fixed, moving, torch.ones(9, 9, 9), 2)
    best = displacements(2)[costs[4, 4, :, 4].int().argmin()]
    assert best.tolist() == list(shift)


def test_what_is_not_seen_speaks_for_no_displacement():
    fixed, moving = features((7, 7, 7)), features((7, 7, 7), 1)
    costs = match_costs(fixed, moving, torch.zeros(7, 7, 7), 1)
    assert torch.equal(costs, torch.zeros_like(costs))
    seen = torch.ones(7, 7, 7)
    seen[5:] = 0.0
    raw = discrete._match_costs_torch(fixed, moving, seen, 1)
    up = displacements(1)[:, 0] == 1
    assert torch.allclose(raw[4, 3, up, 3], raw[4, 3, ~up, 3].mean())


def test_the_weight_holds_the_choice_near():
    costs = match_costs(features((6, 6, 6)), features((6, 6, 6), 1), torch.ones(6, 6, 6), 2)
    near = torch.full((3, 6, 6, 6), 1.0)
    free, held = cheapest(costs, near, 0.0, 2), cheapest(costs, near, 1e3, 2)
    assert torch.equal(held, near)
    assert not torch.equal(free, near)


def test_where_nothing_speaks_for_a_displacement_there_is_none():
    plain = torch.ones(12, 9, 8, 7)
    assert not discrete._search(operators(CPU), plain, plain, torch.ones(9, 8, 7), 2).any()


def scene(shape=(48, 44, 40), seed=4):
    return smooth(torch.rand((1, *shape), generator=torch.Generator().manual_seed(seed)), 2.0)[0].numpy()


def found(fixed, moving, **options):
    coarse = tuple(volume(x.reshape(24, 2, 22, 2, 20, 2).mean(axis=(1, 3, 5)), 4.0) for x in (fixed, moving))
    search = DiscreteSearch(coarse, (volume(fixed), volume(moving)), CPU, **options)
    return search, search.displacement(np.eye(4))


def test_a_shift_of_several_voxels_is_found_and_an_inverted_contrast_does_not_matter():
    image = scene()
    _, u = found(image, 3.0 - 2.0 * np.roll(image, 4, axis=1))
    inner = u[:, 4:-4, 4:-4, 4:-4]
    # Four fine voxels are two coarse ones.
    assert inner.mean(dim=(1, 2, 3)).numpy() == pytest.approx([0.0, 2.0, 0.0], abs=0.25)


def test_equal_images_stay_where_they_are():
    _, u = found(scene(), scene())
    assert float(u.norm(dim=0).max()) < 0.5


def test_a_second_search_goes_on_from_what_is_known():
    image = scene()
    search, u = found(image, np.roll(image, 4, axis=1))
    again = search.displacement(np.eye(4), u)
    known = torch.zeros_like(u)
    known[1] = 2.0
    inner = (slice(None), *(slice(4, -4),) * 3)
    assert float((again - known)[inner].norm(dim=0).mean()) < 0.25
    assert float((search.displacement(np.eye(4), known) - known)[inner].norm(dim=0).mean()) < 0.1


def test_a_shift_beyond_the_level_s_own_reach_is_found_by_the_look_at_larger_voxels():
    image = scene()
    moved = np.roll(image, 8, axis=0)
    inner = (0, *(slice(6, -6),) * 3)
    # Eight fine voxels are four coarse ones.
    assert float(found(image, moved)[1][inner].median()) == pytest.approx(4.0, abs=0.3)
    assert float(found(image, moved, looks=((1, 2),))[1][inner].median()) < 2.5


@pytest.fixture
def looks(monkeypatch):
    """The searches that are asked for, as (voxels, reach), without doing any."""
    asked = []

    def note(ops, fixed, moving, seen, reach):
        asked.append((seen.numel(), reach))
        return torch.zeros(3, *seen.shape)

    monkeypatch.setattr(discrete, "_search", note)
    return asked


@pytest.mark.parametrize(("edge", "reaches"), [(8, (1, 1)), (16, (1, 2)), (40, (3, 2))])
def test_small_levels_are_searched_less_far(looks, edge, reaches):
    empty = volume(np.zeros((edge,) * 3, np.float32))
    DiscreteSearch((empty, empty), (empty, empty), CPU).displacement(np.eye(4))
    half, whole = ((edge // 2) ** 3, reaches[0]), (edge**3, reaches[1])
    assert looks == [half, half, whole, whole]


def test_large_levels_are_looked_at_with_larger_voxels_only(looks):
    empty = volume(np.zeros((30, 30, 30), np.float32))
    DiscreteSearch((empty, empty), (empty, empty), CPU, most=20**3).displacement(np.eye(4))
    assert looks == [(15**3, 2)] * 2


def test_the_number_of_threads_changes_nothing():
    image, threads, outcomes = scene(), torch.get_num_threads(), []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            outcomes.append(found(image, scene(seed=5))[1].numpy())
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*outcomes)
