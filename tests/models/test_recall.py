"""A memory of what was learnt."""

from __future__ import annotations

import pytest

from atlassegfm.models.recall import Recall


def test_it_learns_once():
    recall, learnt = Recall(3), []
    for key in (1, 2, 1):
        assert recall.of(key, lambda key=key: learnt.append(key) or 10 * key) == 10 * key
    assert learnt == [1, 2]
    assert len(recall) == 2


def test_what_was_not_asked_for_longest_goes_first():
    recall = Recall(2)
    for key in ("a", "b", "a", "c"):
        recall.of(key, lambda key=key: key)
    assert recall.of("a", lambda: "anew") == "a"
    assert recall.of("b", lambda: "anew") == "anew"
    assert len(recall) == 2


def test_what_could_not_be_learnt_is_not_kept():
    recall = Recall(2)

    def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        recall.of(1, fails)
    assert len(recall) == 0
    assert recall.of(1, lambda: 5) == 5


def test_things_are_weighed():
    recall = Recall(10, len)
    recall.keep("a", "xxxx")
    recall.keep("b", "xxxxx")
    recall.find("a")
    recall.keep("c", "xx")
    assert [recall.find(key) for key in "abc"] == ["xxxx", None, "xx"]
    # More than all there is room for: told, not kept.
    assert recall.keep("d", "x" * 11) == "x" * 11
    assert recall.find("d") is None


def test_it_forgets_when_told():
    recall = Recall(3)
    for key in "abc":
        recall.keep(key, key)
    recall.forget("b")
    recall.forget("never known")
    assert [recall.find(key) for key in "abc"] == ["a", None, "c"]
    recall.shrink(1)
    assert [recall.find(key) for key in "abc"] == [None, None, "c"]
    recall.forget()
    assert len(recall) == 0
