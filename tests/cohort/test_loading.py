"""The next scan is read while one is computed."""

import threading

import numpy as np
import pytest

from atlassegfm.cohort import loading
from atlassegfm.cohort.loading import Loader
from atlassegfm.cohort.queries import Query
from atlassegfm.errors import InputError


@pytest.fixture
def reads(monkeypatch):
    """Which scan was read in which thread."""
    found, real = [], loading.load

    def load(query):
        found.append((query.name, threading.current_thread() is threading.main_thread()))
        return real(query)

    monkeypatch.setattr(loading, "load", load)
    return found


def test_what_is_expected_is_read_once_and_elsewhere(scans, reads):
    first, second = scans.query("a"), scans.query("b")
    told = []
    loader = Loader(told.append)
    loader.load(first, second)
    scan = loader.load(second, None)
    assert reads == [("a", True), ("b", False)]
    assert told == [True, False]
    assert np.array_equal(scan.image.data, loading.load(second).image.data)


def test_what_comes_instead_is_read_when_it_comes(scans, reads):
    queries = [scans.query(name) for name in "abc"]
    loader = Loader(lambda _: None)
    loader.load(queries[0], queries[1])
    loader.load(queries[2], None)
    assert [name for name, _ in reads if name != "b"] == ["a", "c"]


def test_an_error_ahead_is_raised_when_it_is_its_turn(scans, reads):
    path = scans.folder / "bad.nii.gz"
    path.write_bytes(b"no image")
    loader = Loader(lambda _: None)
    loader.load(scans.query("a"), Query(path, "bad"))
    with pytest.raises(InputError):
        loader.load(Query(path, "bad"), None)
    assert [name for name, _ in reads] == ["a", "bad", "bad"]
