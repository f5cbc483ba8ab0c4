"""What follows a registration of one atlas before a model is asked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from atlassegfm import closer


@pytest.mark.parametrize(
    ("registration", "given", "fusion", "steps"),
    [
        ("default", {}, "kalman", ["seats", "across"]),
        ("default", {"quality": "fast"}, "gate", ["seats", "across"]),
        ("default", {"seats": False}, "kalman", ["across"]),
        ("default", {}, "kalman-paper", ["seats"]),
        ("default", {}, "none", ["seats"]),
        ("affine", {}, "kalman", []),
        ("greedy", {}, "kalman", []),
        ("voxelmorph", {}, "kalman", []),
    ],
)
def test_which_runs_it_is_for(monkeypatch, registration, given, fusion, steps):
    done = []
    monkeypatch.setattr(closer, "_take_seats", lambda run: done.append("seats"))
    monkeypatch.setattr(closer, "_look_across", lambda run: done.append("across"))
    options = {"registration": registration, "registration_options": given, "fusion": fusion}
    closer.look_closer(SimpleNamespace(options=options))
    assert done == steps
