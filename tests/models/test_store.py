"""What was learnt, found again."""

import json
import os

import numpy as np
import pytest

from atlassegfm.models.recall import Recall
from atlassegfm.models.store import Kind, Store, cache_folder, content_key
from atlassegfm.volume import Grid, Volume

KEPT = 4


def read(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


@pytest.fixture
def kind() -> Kind:
    return Kind(".json", read, lambda learnt, path: path.write_text(json.dumps(learnt)), Recall(KEPT), most=30)


def test_found_in_memory_and_on_disk(kind, tmp_path):
    assert Store(kind, tmp_path / "new").keep("k", {"steps": 3}) == {"steps": 3}
    for _ in range(2):
        assert Store(kind, tmp_path / "new").find("k") == {"steps": 3}
        kind.memory.forget()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["k.json"]


def test_without_a_folder_things_are_known_to_the_process_only(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Store(kind, None).keep("k", 3) == Store(kind, None).find("k") == 3
    kind.memory.forget()
    assert Store(kind, None).find("k") is None
    assert list(tmp_path.iterdir()) == []


def test_damaged_files_count_as_absent(kind, tmp_path):
    (tmp_path / "k.json").write_bytes(b"{")
    assert Store(kind, tmp_path).find("k") is None
    assert Store(kind, tmp_path).find("absent") is None


def test_a_failure_while_writing_leaves_no_file(kind, tmp_path):
    with pytest.raises(TypeError):
        Store(kind, tmp_path).keep("k", {"no": object()})
    assert list(tmp_path.iterdir()) == []


def test_key_follows_everything_that_is_learnt_from(tmp_path):
    weights = tmp_path / "w"
    weights.write_bytes(b"1")
    grid = Grid((4, 5, 6), np.eye(4))
    image, labels = Volume(np.zeros(grid.shape, np.float32), grid), Volume(np.ones(grid.shape, np.uint8), grid)

    def key(image, labels, weights, told):
        return content_key((image.digest(), labels.digest()), told, weights)

    keys = [key(image, labels, weights, [0])]
    assert key(image, labels, weights, [0]) == keys[0]
    keys.append(key(image, labels, None, [0]))
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


def test_the_disk_does_not_fill(kind, tmp_path):
    kept = Store(kind, tmp_path)
    (tmp_path / "of another kind.txt").touch()
    for number, key in enumerate("abc"):
        kept.keep(key, "12 bytes..")
        os.utime(tmp_path / f"{key}.json", (number, number))
    kept.keep("d", "12 bytes..")
    assert sorted(p.stem for p in tmp_path.glob("*.json")) == ["c", "d"]
    assert (tmp_path / "of another kind.txt").exists()
    kept.keep("large", 40 * "x")
    assert [p.stem for p in tmp_path.glob("*.json")] == ["large"]
