"""Volumes that stand out from their cohort."""

import numpy as np
import pytest

from atlassegfm.cohort.outliers import FEWEST, find_outliers, robust_z
from atlassegfm.cohort.records import CaseRecord


def record(name, *volumes):
    labels = [{"value": n, "name": f"label {n}", "volume_ml": v} for n, v in enumerate(volumes, 1)]
    return CaseRecord(name, name, "key", labels=labels)


def test_one_that_stands_out_is_found_by_label():
    spread = np.random.default_rng(0).normal(100, 10, 20)
    records = [record(f"q{n}", volume, 5.0) for n, volume in enumerate(spread)]
    records += [record("big", 400.0, 5.0), record("small", 100.0, 1.0), record("empty", 100.0, 0.0)]
    found = find_outliers(records)
    assert {name: list(labels) for name, labels in found.items()} == {"big": [1], "small": [2]}
    assert "4" in found["big"][1]
    assert "0.2 times" in found["small"][2]


def test_few_and_equal_volumes_have_none():
    assert find_outliers([record(f"q{n}", 10.0 + 90.0 * (n == 0)) for n in range(FEWEST - 1)]) == {}
    assert find_outliers([record(f"q{n}", 10.0 + 0.5 * (n == 0)) for n in range(20)]) == {}


def test_robust_z_is_that_of_a_normal_distribution():
    values = np.random.default_rng(1).normal(3.0, 2.0, 4001)
    expected = (values - 3.0) / 2.0
    assert np.abs(np.array(robust_z(list(values))) - expected).max() == pytest.approx(0.0, abs=0.3)
