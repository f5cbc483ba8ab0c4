"""Keys, digests and names: another content gives another one, the same content the same."""

import re
import shutil

import pytest

from atlassegfm.content import code_digest, path_digest, path_signature, safe_name, settings_key
from atlassegfm.errors import InputError


@pytest.mark.parametrize(("one", "other"), [("a b", "a-b"), ("x" * 60 + "1", "x" * 60 + "2"), ("a/b", "a=b")])
def test_a_safe_name_is_another_one_for_each_text(one, other):
    names = safe_name(one), safe_name(other)
    assert names[0] != names[1]
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,60}", name)
    assert safe_name("hippocampus_001") == "hippocampus_001"


def test_the_key_of_settings_depends_on_what_is_said_not_on_the_order():
    assert settings_key({"a": 1, "b": [2]}) == settings_key({"b": [2], "a": 1})
    assert settings_key({"a": 1}) != settings_key({"a": 2})
    assert len(code_digest()) == 64


def test_a_folder_is_its_names_and_contents(tmp_path):
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "1").write_bytes(b"one")
    (tmp_path / "a" / "2").write_bytes(b"")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    before = path_digest(tmp_path / "a"), path_signature(tmp_path / "a")
    assert path_digest(tmp_path / "b") == before[0]
    (tmp_path / "a" / "2").write_bytes(b"x")
    assert path_digest(tmp_path / "a") != before[0]
    assert path_signature(tmp_path / "a") != before[1]


def test_a_missing_path_is_an_error_of_ours(tmp_path):
    with pytest.raises(InputError, match="nothing"):
        path_signature(tmp_path / "nothing")
