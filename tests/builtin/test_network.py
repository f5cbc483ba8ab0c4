"""The refinement network: what it returns before it has learnt anything, and its per-label modulation."""

import numpy as np
import pytest
import torch

from atlassegfm.builtin.encoding import CHANNELS, encode
from atlassegfm.builtin.network import RefinerNet, Shape

SMALL = Shape(widths=(8, 16, 16, 16), depths=(1, 1, 1))


@pytest.fixture
def inputs() -> torch.Tensor:
    mask = np.zeros((24, 24, 32), bool)
    mask[8:16, 6:18, 10:20] = True
    image = np.random.default_rng(1).normal(size=mask.shape).astype(np.float32)
    return torch.from_numpy(encode(image, mask, np.roll(mask, 9, axis=2) & ~mask))[None]


def _warmed_up(network: RefinerNet) -> RefinerNet:
    """A network whose correction is no longer zero."""
    torch.nn.init.normal_(network.out.weight, generator=torch.Generator().manual_seed(0))
    return network.eval()


def test_untrained_it_returns_the_prior(inputs):
    logits = RefinerNet(SMALL)(inputs)
    assert logits.shape == (1, 1, 24, 24, 32)
    assert torch.equal(logits[0, 0] > 0, inputs[0, CHANNELS.index("prior")] > 0)


def test_default_network_is_small_enough_to_ship():
    assert 1e6 < sum(p.numel() for p in RefinerNet().parameters()) < 5e6


def test_new_labels_change_nothing_until_they_learn(inputs):
    network = _warmed_up(RefinerNet(SMALL))
    index = torch.tensor([1, 2])
    both = inputs.repeat(2, 1, 1, 1, 1)
    with torch.no_grad():
        before = network(both)
        network.add_labels(3)
        assert torch.equal(network(both, index), before)
        network.modulation[2] += 0.3
        after = network(both, index)
    assert torch.equal(after[0], before[0])
    assert not torch.allclose(after[1], before[1])
    assert torch.equal(network(both), before)


def test_modulation_learns(inputs):
    network = _warmed_up(RefinerNet(SMALL))
    network.add_labels(2)
    network(inputs, torch.tensor([1])).square().mean().backward()
    gradient = network.modulation.grad
    assert not gradient[0].any()
    assert gradient[1].count_nonzero() > 0.9 * gradient[1].numel()
