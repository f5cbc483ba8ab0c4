"""The network: its size, any image shape, and the same numbers every time."""

from __future__ import annotations

import pytest
import torch

from atlassegfm.registration.unet import FlowUNet, parameter_count


def test_parameter_count():
    def conv(inputs, outputs):
        return inputs * outputs * 27 + outputs

    wanted = conv(2, 32) + 4 * conv(32, 32) + 4 * conv(64, 32) + conv(32, 3)
    assert parameter_count(FlowUNet()) == wanted == 336_387


@pytest.mark.parametrize("shape", [(16, 16, 16), (9, 20, 11), (3, 17, 8), (1, 12, 12)])
@pytest.mark.parametrize("bfloat16", [False, True])
def test_any_shape_gives_a_small_field(shape, bfloat16):
    torch.manual_seed(0)
    field = FlowUNet(bfloat16=bfloat16)(torch.rand(1, 2, *shape))
    assert field.shape == (1, 3, *shape)
    assert field.dtype == torch.float32
    assert 0 < float(field.detach().abs().max()) < 1e-2


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_bfloat16_does_not_read_foreign_memory(layout):
    # Edges of two voxels (here on the lowest level) once brought in what the memory held before.
    slopes = set()
    for _ in range(4):
        junk = [torch.full((size,), float("nan")) for size in (27 * 32 * 32, 27 * 64 * 32, 32, 100_000)]
        del junk
        torch.manual_seed(0)
        images = torch.rand(1, 2, 17, 18, 20).contiguous(memory_format=layout)
        network = FlowUNet(bfloat16=True).to(memory_format=layout)
        network(images).square().sum().backward()
        grown = torch.cat([p.grad.flatten() for p in network.parameters()])
        assert torch.isfinite(grown).all()
        slopes.add(grown.numpy().tobytes())
    assert len(slopes) == 1
