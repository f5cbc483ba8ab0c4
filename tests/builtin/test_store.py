"""Customised weights found again."""

import os

import numpy as np
import pytest
import torch

from atlassegfm.builtin import store
from atlassegfm.builtin.store import KEPT, Store, cache_folder, content_key
from atlassegfm.models.recall import Recall
from atlassegfm.volume import Grid, Volume

STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(4.0)}


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch):
    monkeypatch.setattr(store, "_memory", Recall(KEPT))


def test_found_in_memory_and_on_disk(tmp_path):
    Store(tmp_path / "new").keep("k", STATE, {"steps": 3})
    for _ in range(2):
        state, facts = Store(tmp_path / "new").find("k")
        assert facts == {"steps": 3}
        assert all(torch.equal(state[n], STATE[n]) for n in STATE)
        store._memory.forget()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["k.safetensors"]


def test_memory_is_bounded(tmp_path):
    kept = Store(tmp_path)
    for number in range(KEPT + 2):
        kept.keep(str(number), STATE, {})
    assert len(store._memory) == KEPT
    assert kept.find("0") is not None


def test_damaged_files_count_as_absent(tmp_path):
    (tmp_path / "k.safetensors").write_bytes(b"no weights")
    assert Store(tmp_path).find("k") is None
    assert Store(tmp_path).find("absent") is None


def test_later_changes_of_the_network_do_not_reach_what_is_kept(tmp_path):
    live = {"a": torch.zeros(3)}
    Store(tmp_path).keep("k", live, {})
    live["a"] += 1
    assert Store(tmp_path).find("k")[0]["a"].sum() == 0


def test_key_follows_everything_that_is_learnt_from(tmp_path):
    weights = tmp_path / "w"
    weights.write_bytes(b"1")
    grid = Grid((4, 5, 6), np.eye(4))
    image, labels = Volume(np.zeros(grid.shape, np.float32), grid), Volume(np.ones(grid.shape, np.uint8), grid)

    def key(image, labels, weights, told):
        return content_key((image.digest(), labels.digest()), weights, told)

    keys = [key(image, labels, weights, [0])]
    assert key(image, labels, weights, [0]) == keys[0]
    keys.append(key(image, labels, weights, [1]))
    keys.append(key(image.with_data(image.data + 1), labels, weights, [0]))
    keys.append(key(image, labels.with_data(2 * labels.data), weights, [0]))
    keys.append(key(Volume(image.data, Grid(grid.shape, 2 * np.eye(4) - np.diag([0, 0, 0, 1]))), labels, weights, [0]))
    weights.write_bytes(b"2")
    keys.append(key(image, labels, weights, [0]))
    assert len(set(keys)) == len(keys)


def test_folder_is_where_the_user_said(monkeypatch, tmp_path):
    monkeypatch.setenv("ATLASSEGFM_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "customised"


def test_the_disk_does_not_fill(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "KEPT_ON_DISK", 2)
    kept = Store(tmp_path)
    for number, key in enumerate("abc"):
        kept.keep(key, {"w": torch.zeros(1)}, {})
        os.utime(tmp_path / f"{key}.safetensors", (number, number))
    kept.keep("d", {"w": torch.zeros(1)}, {})
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["c", "d"]
