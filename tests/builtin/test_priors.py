"""Each kind of error does what its name says."""

import numpy as np
import pytest

from atlassegfm.builtin.priors import KINDS, corrupted, random_kind
from atlassegfm.overlap import dice


@pytest.fixture
def masks() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    own = np.zeros((40, 40, 40), bool)
    own[10:26, 12:28, 12:28] = True
    neighbour = np.zeros_like(own)
    neighbour[26:36, 12:28, 12:28] = True
    return own, neighbour, neighbour


def made(masks, kind, seed=0, severity=None):
    return corrupted(np.random.default_rng(seed), *masks, kind, severity)


def test_frequencies_sum_to_one_and_kinds_repeat_with_the_seed():
    assert sum(KINDS.values()) == pytest.approx(1.0)
    draws = [[random_kind(np.random.default_rng(s)) for s in range(20)] for _ in range(2)]
    assert draws[0] == draws[1]


def test_perfect_changes_nothing(masks):
    prior, rivals = made(masks, "perfect")
    np.testing.assert_array_equal(prior, masks[0])
    np.testing.assert_array_equal(rivals, masks[1])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_priors_repeat_with_the_seed_and_never_overlap(masks, kind):
    for seed in range(3):
        prior, rivals = made(masks, kind, seed)
        np.testing.assert_array_equal(prior, made(masks, kind, seed)[0])
        assert not (prior & rivals).any()


def test_displacement_grows_with_severity_and_moves_rivals_along(masks):
    small, large = (
        np.mean([dice(made(masks, "displaced", s, severity)[0], masks[0]) for s in range(8)]) for severity in (0.5, 5.0)
    )
    assert small > 0.9
    assert 0.3 < large < small - 0.1
    prior, rivals = made(masks, "displaced", 1, 4.0)
    gap = ~(prior | rivals) & (masks[0] | masks[1])
    assert np.count_nonzero(gap) < np.count_nonzero(masks[0])


def test_missing_loses_less_than_half(masks):
    sizes = [np.count_nonzero(made(masks, "missing", s, 0.1)[0]) for s in range(8)]
    whole = np.count_nonzero(masks[0])
    assert max(sizes) < 1.1 * whole
    assert min(sizes) > 0.35 * whole
    assert np.mean(sizes) < 0.9 * whole


def test_neighbour_is_taken_for_the_label(masks):
    prior, rivals = made(masks, "neighbour", 0, 0.1)
    assert np.count_nonzero(prior & masks[1]) > 0.8 * np.count_nonzero(masks[1])
    assert np.count_nonzero(rivals) < 0.2 * np.count_nonzero(masks[1])


def test_empty_keeps_the_rivals(masks):
    prior, rivals = made(masks, "empty", 0, 1.0)
    assert not prior.any()
    assert rivals.any()
