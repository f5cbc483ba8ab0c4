"""Weights files: what goes in comes out, and what is none of ours is refused in one line."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from atlassegfm.builtin.encoding import encode
from atlassegfm.builtin.network import RefinerNet, Shape
from atlassegfm.builtin.refine import tiled_logits
from atlassegfm.builtin.weights import load_weights, read_learnt, save_weights, shipped_weights, write_learnt
from atlassegfm.errors import ModelError
from atlassegfm.overlap import dice

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


def test_the_package_brings_weights_that_say_how_they_were_made():
    path = shipped_weights()
    assert path.stat().st_size < 10e6
    network, facts = load_weights(path)
    assert network.shape == Shape()
    assert facts["steps"] > 1000
    assert facts["plan"]["seed"] == 0


@pytest.fixture(scope="module")
def asked() -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray, np.ndarray]:
    """Asks the shipped network for a bright ball beside a less bright one; and both balls."""
    network, _ = load_weights(shipped_weights())
    where = np.indices((64, 56, 56)).astype(float)
    own, other = (np.linalg.norm(where - np.array([x, 28, 28])[:, None, None, None], axis=0) < 9 for x in (22, 42))
    image = np.random.default_rng(0).normal(0.0, 0.05, own.shape) + own + 0.5 * other

    def ask(prior: np.ndarray) -> np.ndarray:
        inputs = encode(image.astype(np.float32), prior, np.zeros_like(prior))
        return tiled_logits(network, inputs) > 0.0

    return ask, own, other


def test_shipped_network_keeps_a_true_mask(asked):
    ask, own, _ = asked
    assert dice(ask(own), own) > 0.95


def test_shipped_network_corrects_a_displaced_mask(asked):
    ask, own, _ = asked
    prior = np.roll(own, 4, axis=1)
    assert dice(ask(prior), own) > dice(prior, own) + 0.1


def test_shipped_network_answers_for_the_neighbour_whose_mask_it_is_given(asked):
    ask, own, other = asked
    found = ask(other)
    assert dice(found, other) > 0.9
    assert not (found & own).any()


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


def test_what_was_learnt_survives_to_the_bit(tmp_path):
    state = {"a": torch.arange(6.0).reshape(2, 3) / 7.0, "b": torch.tensor(4.0)}
    write_learnt((state, {"steps": 3}), tmp_path / "k")
    found, facts = read_learnt(tmp_path / "k")
    assert facts == {"steps": 3}
    assert found.keys() == state.keys()
    assert all(torch.equal(found[n], state[n]) for n in state)


def test_what_cannot_be_read_was_not_learnt(tmp_path):
    (tmp_path / "k").write_bytes(b"no weights")
    save_weights(tmp_path / "other", RefinerNet(SMALL), {})
    assert [read_learnt(tmp_path / name) for name in ("k", "other", "absent")] == [None, None, None]
