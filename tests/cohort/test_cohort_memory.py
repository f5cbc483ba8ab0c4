"""How many workers: what was asked for, or what fits."""

import pytest

from atlassegfm.cohort.memory import BASE_BYTES, BYTES_PER_VOXEL, SHARE, auto_jobs, free_bytes, read_jobs
from atlassegfm.errors import InputError


def test_jobs_are_auto_or_a_number():
    assert read_jobs("auto") is None
    assert read_jobs("3") == 3
    for text in ("0", "-1", "many", "1.5"):
        with pytest.raises(InputError, match="--jobs: expected auto"):
            read_jobs(text)


def test_workers_fit_into_cores_cases_and_memory(monkeypatch):
    monkeypatch.setattr("atlassegfm.cohort.memory.available_cores", lambda: 8)
    one = (BASE_BYTES + BYTES_PER_VOXEL * 1e6) / SHARE
    assert auto_jobs(10**6, 100, "cpu", free=3.5 * one) == 3
    assert auto_jobs(10**6, 2, "cpu", free=100 * one) == 2
    assert auto_jobs(10**6, 100, "cpu", free=100 * one) == 8
    assert auto_jobs(10**6, 100, "cpu", free=0.1 * one) == 1
    assert auto_jobs(10**6, 100, "cuda", free=100 * one) == 1
    assert auto_jobs(10**6, 100, "cpu", free=3.5 * one, further=10**7) < 3


def test_free_memory_is_known_here():
    assert free_bytes() >= 0
