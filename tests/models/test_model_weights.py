"""Weights on this machine: which ones count, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from atlassegfm.errors import InputError, MissingExtraError, ModelError
from atlassegfm.models.info import ModelInfo, Weights
from atlassegfm.models.weights import (
    MANIFEST,
    check_weights,
    digest,
    find_weights,
    folder_of,
    home,
    missing_weights,
    offline,
    used_digest,
)

INFO = ModelInfo(
    "toy-model", "toy", "3D", ("mask",), "MIT",
    weights=Weights(licence="MIT", main="w.pt", about_mb=7, repo="some/model", files=("w.pt",)),
)  # fmt: skip


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    monkeypatch.setenv("ATLASSEGFM_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(INFO.weights_variable, raising=False)


def test_the_folder_is_the_users_to_choose(monkeypatch, tmp_path):
    assert folder_of(INFO) == tmp_path / "home" / "models" / "toy-model"
    monkeypatch.delenv("ATLASSEGFM_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert home() == tmp_path / "cache" / "atlassegfm"


def test_a_given_path_comes_before_the_environment_and_that_before_downloads(monkeypatch, tmp_path):
    for name in ("one.pt", "two.pt"):
        (tmp_path / name).write_bytes(name.encode())
    assert INFO.weights_variable == "ATLASSEGFM_TOY_MODEL_WEIGHTS"
    with pytest.raises(
        ModelError, match=r"run 'atlassegfm models download toy-model' \(7 MB, licence: MIT\).*--weights"
    ):
        find_weights(INFO)
    assert "ATLASSEGFM_TOY_MODEL_WEIGHTS=PATH" in missing_weights(INFO)
    monkeypatch.setenv(INFO.weights_variable, str(tmp_path / "one.pt"))
    assert find_weights(INFO).path.name == "one.pt"
    assert missing_weights(INFO) is None
    found = find_weights(INFO, tmp_path / "two.pt")
    assert found.facts() == {
        "file": "two.pt",
        "sha256": digest(tmp_path / "two.pt"),
        "origin": "given",
        "pinned": False,
    }
    assert used_digest(INFO) == digest(tmp_path / "one.pt")


def test_a_path_that_is_not_there_is_named(monkeypatch, tmp_path):
    for check in (lambda: find_weights(INFO, tmp_path / "x"), lambda: check_weights(INFO, tmp_path / "x", None)):
        with pytest.raises(InputError, match="no such file or folder with weights of toy-model"):
            check()
    monkeypatch.setenv(INFO.weights_variable, "/nowhere/w.pt")
    assert "/nowhere/w.pt" in missing_weights(INFO)


def test_a_hash_that_is_given_has_to_hold(tmp_path):
    path = tmp_path / "w.pt"
    path.write_bytes(b"content")
    assert find_weights(INFO, path, digest(path).upper()).pinned
    with pytest.raises(ModelError, match=f"expected weights with SHA-256 {'0' * 64}, got {digest(path)}"):
        find_weights(INFO, path, "0" * 64)
    with pytest.raises(InputError, match="64 hexadecimal digits"):
        find_weights(INFO, path, "abc")


def test_a_folder_is_known_by_names_and_contents(tmp_path):
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.json").write_text("{}")
    (folder / "sub" / "w.bin").write_bytes(b"123")
    first = digest(folder)
    (folder / MANIFEST).write_text("{}")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "x").write_text("y")
    assert digest(folder) == first
    (folder / "sub" / "w.bin").write_bytes(b"1234")
    changed = digest(folder)
    assert changed != first
    (folder / "sub" / "w.bin").rename(folder / "w.bin")
    assert digest(folder) not in (first, changed)


def test_a_damaged_record_is_named(tmp_path):
    folder = folder_of(INFO)
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_text("{broken")
    with pytest.raises(ModelError, match="cannot be read"):
        find_weights(INFO)


def test_what_can_be_told_cheaply_is_told():
    bare = ModelInfo("bare", "", "3D", ("mask",), "MIT")
    with pytest.raises(InputError, match="bare has no weights"):
        check_weights(bare, Path("x"), None)
    check_weights(bare, None, None)
    check_weights(INFO, None, None, served=True)
    lost = ModelInfo("lost", "", "3D", ("mask",), "MIT", weights=INFO.weights, extra="extra", package="no_such_package")
    with pytest.raises(MissingExtraError, match=r"no_such_package.*pip install 'atlassegfm\[extra\]'"):
        check_weights(lost, None, None)


@pytest.mark.parametrize(("variable", "value", "expected"), [
    ("ATLASSEGFM_OFFLINE", "1", True), ("HF_HUB_OFFLINE", "true", True), ("ATLASSEGFM_OFFLINE", "0", False),
])  # fmt: skip
def test_offline(monkeypatch, variable, value, expected):
    for name in ("ATLASSEGFM_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, value)
    assert offline() is expected
