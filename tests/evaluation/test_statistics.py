"""Statistics against values worked out by hand or known from theory."""

import math

import numpy as np
import pytest

from atlassegfm.evaluation.statistics import bootstrap_interval, paired_wilcoxon, summarise


def test_summary_by_hand():
    found = summarise([1.0, 2.0, 3.0, 10.0])
    assert (found.n, found.mean, found.median) == (4, 4.0, 2.5)
    assert found.sd == pytest.approx(math.sqrt((9 + 4 + 1 + 36) / 3))
    assert found.low < 4 < found.high
    assert found.p is None


def test_no_value_is_left_out_and_counted_out():
    found = summarise([1.0, math.nan, 3.0])
    assert (found.n, found.mean) == (2, 2.0)
    empty = summarise([math.nan])
    assert empty.n == 0
    assert math.isnan(empty.mean)
    assert empty.to_json()["mean"] is None
    assert summarise([5.0]).sd == 0


def test_bootstrap_matches_the_normal_interval_and_repeats():
    values = np.random.default_rng(1).normal(0.7, 0.1, 400)
    low, high = bootstrap_interval(values, seed=3)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.0015)
    assert high == pytest.approx(values.mean() + half, abs=0.0015)
    assert bootstrap_interval(values, seed=3) == (low, high)
    assert bootstrap_interval(values, seed=4) != (low, high)


def test_bootstrap_of_many_values_runs_in_blocks():
    values = np.random.default_rng(1).normal(size=30_000)
    low, high = bootstrap_interval(values)
    assert high - low == pytest.approx(2 * 1.96 / math.sqrt(30_000), rel=0.05)


def test_wilcoxon_by_hand():
    # Six differences of one sign: both extreme sign patterns out of 2^6.
    assert paired_wilcoxon(np.arange(1.0, 7.0), np.zeros(6)) == pytest.approx(2 / 64)
    # Signs + + -, ranks 1 2 3: W = 3 on both sides, every pattern is at least as extreme.
    assert paired_wilcoxon(np.array([1.0, 2.0, -3.0]), np.zeros(3)) == pytest.approx(1.0)


def test_wilcoxon_of_equal_and_missing_pairs():
    assert paired_wilcoxon(np.ones(5), np.ones(5)) == 1.0
    assert paired_wilcoxon(np.array([0.1 + 0.2]), np.array([0.3])) == 1.0
    assert paired_wilcoxon(np.array([math.nan]), np.array([1.0])) is None
    with_gap = paired_wilcoxon(np.array([1, 2, 3, 4, 5, 6, math.nan]), np.zeros(7))
    assert with_gap == pytest.approx(2 / 64)
