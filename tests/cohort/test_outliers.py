"""Labels that stand out from their cohort."""

import numpy as np
import pytest

from atlassegfm.cohort.outliers import FEWEST, find_outliers, limit, robust_z
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
    assert np.abs(np.array(robust_z(list(values), 0.05)) - expected).max() == pytest.approx(0.0, abs=0.3)


def test_odd_shapes_and_places_are_found():
    noise = np.random.default_rng(2)

    def shaped(name, **odd):
        shape = {
            "elongation": float(noise.normal(2.0, 0.1)),
            "sphericity": float(noise.normal(0.7, 0.02)),
            "components": 1,
            "offset_mm": list(map(float, noise.normal((10.0, 0.0, -5.0), 2.0))),
        }
        label = {"value": 1, "name": "liver", "volume_ml": 100.0, "shape": {**shape, **odd}}
        return CaseRecord(name, name, "key", labels=[label])

    records = [shaped(f"q{n}") for n in range(30)]
    records += [shaped("long", elongation=5.0), shaped("ragged", sphericity=0.3), shaped("torn", components=4)]
    records += [shaped("elsewhere", offset_mm=[-40.0, 0.0, -5.0]), shaped("alone", offset_mm=None)]
    found = {name: labels[1] for name, labels in find_outliers(records).items()}
    assert sorted(found) == ["elsewhere", "long", "ragged", "torn"]
    assert found["long"].startswith("elongation is 2.5 times")
    assert found["ragged"].startswith("sphericity is 0.4")
    assert found["torn"].startswith("has 4 parts, the cohort's median is 1")
    assert found["elsewhere"].startswith("lies 5") or found["elsewhere"].startswith("lies 4")
    assert "mm left of where" in found["elsewhere"]


@pytest.mark.parametrize("count", [8, 12, 20, 60, 300])
def test_as_few_normal_values_stand_out_of_few_as_of_many(count):
    values = np.random.default_rng(count).normal(size=(1_500_000 // count, count))
    off = np.abs(values - np.median(values, axis=1, keepdims=True))
    spread = 1.4826 * np.median(off, axis=1, keepdims=True)
    assert 3e-4 < (off / spread > limit(count)).mean() < 8e-4
