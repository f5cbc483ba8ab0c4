"""The refinement network: image and prompt channels in, one foreground logit out, as a correction of the prior."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as nnf

from atlassegfm.builtin.encoding import CHANNELS, CLIP_VOXELS

SLOPE = 0.1
#: Channels that share their statistics in a normalisation.
GROUP = 8
#: Edges of the input have to be multiples of this: three halvings.
MULTIPLE = 8
#: Border of the prior, in voxels, over which its logit goes from sure to sure, and the logit when sure.
PRIOR_SOFTNESS, PRIOR_LOGIT = 3.0, 4.0
#: The correction is the last convolution times this: it starts at zero and has to reach several logits soon.
CORRECTION_SCALE = 8.0


@dataclass(frozen=True)
class Shape:
    """What makes two networks' weights exchangeable.

    Parameters
    ----------
    widths : tuple of int
        Channels at full, half, quarter and eighth resolution.
    depths : tuple of int
        Residual blocks on the way down at half, quarter and eighth resolution.
    """

    widths: tuple[int, ...] = (16, 32, 64, 128)
    depths: tuple[int, ...] = (1, 2, 1)


class _Normalised(nn.Module):
    """Convolution and group normalisation whose scale and shift a label may change."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inputs, outputs, kernel_size=3, padding=1)
        self.norm = nn.GroupNorm(max(1, outputs // GROUP), outputs)

    def forward(self, x: torch.Tensor, film: Iterator[torch.Tensor] | None) -> torch.Tensor:
        y = self.norm(self.conv(x))
        if film is None:
            return y
        scale, shift = next(film)[:, :, None, None, None].to(y.dtype).chunk(2, dim=1)
        return y * (1 + scale) + shift


class _Block(nn.Module):
    """Residual block of two convolutions (He et al., arXiv 1512.03385)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _Normalised(channels, channels)
        self.second = _Normalised(channels, channels)

    def forward(self, x: torch.Tensor, film: Iterator[torch.Tensor] | None) -> torch.Tensor:
        y = nnf.leaky_relu(self.first(x, film), SLOPE)
        return nnf.leaky_relu(self.second(y, film) + x, SLOPE)


class RefinerNet(nn.Module):
    """A U-Net that is thin where voxels are many.

    Skips are added instead of concatenated and full resolution sees two convolutions only: on a CPU most of a usual
    U-Net's time goes there. The output is ``a * tanh(distance / softness) + correction`` with the signed distance to
    the prior and a learnt `a`; the correction starts at zero, so that the untrained network returns the prior.

    Parameters
    ----------
    shape : Shape
        Widths and depths.
    """

    def __init__(self, shape: Shape | None = None) -> None:
        super().__init__()
        self.shape = shape = shape or Shape()
        widths = shape.widths
        pairs = list(itertools.pairwise(widths))
        self.stem = nn.Conv3d(len(CHANNELS), widths[0], kernel_size=3, padding=1)
        self.down = nn.ModuleList(nn.Conv3d(a, b, kernel_size=2, stride=2) for a, b in pairs)
        self.encode = nn.ModuleList(
            nn.ModuleList(_Block(w) for _ in range(d)) for w, d in zip(widths[1:], shape.depths, strict=True)
        )
        self.up = nn.ModuleList(nn.Conv3d(b, a, kernel_size=1) for a, b in pairs)
        self.decode = nn.ModuleList(_Block(w) for w in widths[1:-1])
        self.last = _Normalised(widths[0], widths[0])
        self.out = nn.Conv3d(widths[0], 1, kernel_size=1)
        self.prior_logit = nn.Parameter(torch.tensor(PRIOR_LOGIT))
        self.modulation: nn.Parameter | None = None
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def add_labels(self, count: int) -> None:
        """Give each of `count` labels a scale and a shift for every normalisation; zeros, which change nothing."""
        total = 2 * sum(self._modulated)
        self.modulation = nn.Parameter(torch.zeros(count, total, device=self.prior_logit.device))

    @property
    def _modulated(self) -> list[int]:
        """Channels of the normalisations in the order in which `forward` meets them."""
        shape, widths = self.shape, self.shape.widths
        down = [w for w, depth in zip(widths[1:], shape.depths, strict=True) for _ in range(2 * depth)]
        return [*down, *(w for w in widths[-2:0:-1] for _ in range(2)), widths[0]]

    def forward(self, x: torch.Tensor, label_index: torch.Tensor | None = None) -> torch.Tensor:
        """Foreground logits (N, 1, I, J, K) of inputs (N, C, I, J, K) as `encoding.encode` makes them.

        Parameters
        ----------
        x : torch.Tensor
            Edges are multiples of `MULTIPLE`.
        label_index : torch.Tensor, shape (N,), optional
            Row of the labels' modulation to use; None for the network as it was pre-trained.
        """
        film = None
        if label_index is not None and self.modulation is not None:
            film = iter(self.modulation[label_index].split([2 * c for c in self._modulated], dim=1))
        y = nnf.leaky_relu(self.stem(x), SLOPE)
        skips = [y]
        for down, blocks in zip(self.down, self.encode, strict=True):
            y = down(y)
            for block in blocks:
                y = block(y, film)
            skips.append(y)
        skips.pop()
        for level in reversed(range(len(self.up))):
            # The 1x1 convolution comes before the upsampling: the same numbers for an eighth of the work.
            y = nnf.interpolate(self.up[level](y), scale_factor=2.0, mode="nearest") + skips.pop()
            y = self.decode[level - 1](y, film) if level else nnf.leaky_relu(self.last(y, film), SLOPE)
        distance = x[:, CHANNELS.index("prior")].unsqueeze(1).float() * CLIP_VOXELS
        return self.prior_logit * torch.tanh(distance / PRIOR_SOFTNESS) + CORRECTION_SCALE * self.out(y).float()
