"""The paper's network: a U-Net of five levels with 32 channels each that gives a displacement field."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as nnf

LEVELS, CHANNELS = 5, 32
SLOPE = 0.2
#: Standard deviation of the last layer's first weights: the field starts at next to nothing.
FLOW_DEVIATION = 1e-5
#: Fewest voxels along an edge for bfloat16: with two, oneDNN's backward convolution on a CPU (torch 2.13) gives what
#: the memory held before, NaN included.
MIN_BFLOAT16_EDGE = 3


class FlowUNet(nn.Module):
    """Two images in, a displacement in voxels out.

    The shape of Balakrishnan et al., "VoxelMorph: a learning framework for deformable medical image registration",
    IEEE TMI 38 (2019), with 32 channels on each of five levels as in arXiv 2512.18176. Any image size is taken: odd
    edges are rounded up on the way down and met again on the way up.

    Parameters
    ----------
    bfloat16 : bool
        Convolve in bfloat16, but for the last layer, whose displacements need the precision.
    """

    def __init__(self, *, bfloat16: bool = False) -> None:
        super().__init__()
        self.bfloat16 = bfloat16
        self.down = nn.ModuleList(_conv(2 if n == 0 else CHANNELS, CHANNELS) for n in range(LEVELS))
        self.up = nn.ModuleList(_conv(2 * CHANNELS, CHANNELS) for _ in range(LEVELS - 1))
        self.flow = _conv(CHANNELS, 3)
        nn.init.normal_(self.flow.weight, std=FLOW_DEVIATION)
        nn.init.zeros_(self.flow.bias)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Displacement (N, 3, I, J, K) of images (N, 2, I, J, K)."""
        skips: list[torch.Tensor] = []
        x = images
        for number, conv in enumerate(self.down):
            if number:
                x = nnf.max_pool3d(x, 2, ceil_mode=True)
            x = nnf.leaky_relu(self._convolved(conv, x), SLOPE)
            skips.append(x)
        skips.pop()
        for conv in self.up:
            skip = skips.pop()
            x = nnf.interpolate(x, size=skip.shape[2:], mode="nearest")
            x = nnf.leaky_relu(self._convolved(conv, torch.cat([x, skip], dim=1)), SLOPE)
        return self.flow(x.float())

    def _convolved(self, conv: nn.Conv3d, x: torch.Tensor) -> torch.Tensor:
        half = self.bfloat16 and min(x.shape[2:]) >= MIN_BFLOAT16_EDGE
        with torch.autocast(x.device.type, torch.bfloat16, enabled=half):
            return conv(x if half else x.float())


def _conv(inputs: int, outputs: int) -> nn.Conv3d:
    return nn.Conv3d(inputs, outputs, kernel_size=3, padding=1)


def parameter_count(network: nn.Module) -> int:
    """Learnable numbers of a network."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
