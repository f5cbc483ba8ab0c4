"""Files of weights are read without running what may be in them."""

from __future__ import annotations

import argparse
import os

import numpy as np
import pytest
import torch

from atlassegfm.errors import ModelError
from atlassegfm.models.checkpoint import load_checkpoint, load_into, state_of
from atlassegfm.models.weights import FoundWeights, digest


class Trap:
    """Unpickled, it makes a folder."""

    def __init__(self, path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def found(path, *, pinned=False) -> FoundWeights:
    return FoundWeights(path, digest(path), "given", pinned=pinned)


def test_code_in_a_file_does_not_run_and_the_way_on_is_told(tmp_path):
    path = tmp_path / "trap.pt"
    torch.save({"state": torch.zeros(2), "more": Trap(tmp_path / "sprung")}, path)
    with pytest.raises(ModelError, match=f"can run any code .*mkdir.*--weights-sha256 {digest(path)}") as caught:
        load_checkpoint(path, found(path))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "sprung").exists()


def test_a_file_whose_hash_was_given_is_read_in_full(tmp_path):
    path = tmp_path / "trusted.pt"
    torch.save({"state": torch.ones(2), "more": Trap(tmp_path / "made")}, path)
    assert load_checkpoint(path, found(path, pinned=True))["state"].sum() == 2
    assert (tmp_path / "made").exists()


def test_what_training_scripts_leave_is_read_without_a_hash(tmp_path):
    path = tmp_path / "trained.pt"
    extra = {"args": argparse.Namespace(lr=0.1), "best": np.float64(0.7), "curve": np.arange(3.0), "epoch": 3}
    torch.save({"state": torch.ones(2), **extra}, path)
    content = load_checkpoint(path, found(path))
    assert content["args"].lr == 0.1
    assert content["best"] == 0.7


def test_safetensors_are_read(tmp_path):
    save_file = pytest.importorskip("safetensors.torch").save_file
    path = tmp_path / "w.safetensors"
    save_file({"a": torch.ones(3)}, path)
    assert load_checkpoint(path, found(path))["a"].sum() == 3
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ModelError, match=r"w\.safetensors \(SHA-256 [0-9a-f]{64}\): cannot be read"):
        load_checkpoint(path, found(path))


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"PK\x03\x04 truncated"])
def test_what_is_no_file_of_weights_is_named(tmp_path, content):
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_checkpoint(path, found(path))
    assert str(path) in str(caught.value)
    assert digest(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_of_another_network_are_named(tmp_path):
    path = tmp_path / "w.pt"
    torch.save({"model": {"weight": torch.ones(3, 2)}}, path)
    weights = found(path)
    state = state_of(load_checkpoint(path, weights), "model", weights)
    with pytest.raises(ModelError, match="expected weights of a line, got others") as caught:
        load_into(torch.nn.Linear(5, 1), state, weights, "a line")
    assert "\n" not in str(caught.value)
    with pytest.raises(ModelError, match=r"expected a checkpoint with an entry 'state', got \['model'\]"):
        state_of({"model": 1}, "state", weights)
