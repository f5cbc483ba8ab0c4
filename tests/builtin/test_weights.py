"""Weights files: what goes in comes out, and what is none of ours is refused in one line."""

import pytest
import torch
from safetensors.torch import save_file

from atlassegfm.builtin.network import RefinerNet, Shape
from atlassegfm.builtin.weights import load_weights, save_weights
from atlassegfm.errors import ModelError

SMALL = Shape(widths=(8, 16, 16, 16), depths=(1, 1, 1))


def test_weights_and_facts_survive(tmp_path):
    torch.manual_seed(0)
    network = RefinerNet(SMALL)
    network.add_labels(4)
    path = tmp_path / "net.safetensors"
    save_weights(path, network, {"seed": 3, "plan": {"minutes": 1.5}})
    loaded, facts = load_weights(path)
    assert facts == {"seed": 3, "plan": {"minutes": 1.5}}
    assert loaded.shape == SMALL
    assert not loaded.training
    assert loaded.modulation is None
    for name, value in loaded.state_dict().items():
        torch.testing.assert_close(value, network.state_dict()[name], atol=1e-3, rtol=1e-3)
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_shipped_size_is_below_ten_megabytes(tmp_path):
    save_weights(tmp_path / "net.safetensors", RefinerNet(), {})
    assert (tmp_path / "net.safetensors").stat().st_size < 10e6


def test_what_is_no_weights_file_is_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(ModelError, match="safetensors"):
        load_weights(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(ModelError, match="safetensors"):
        load_weights(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ModelError, match="format"):
        load_weights(path)
