"""The network on whole labels: tiles that overlap, a logit for each voxel of a crop around the prior."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from atlassegfm.builtin.network import MULTIPLE, RefinerNet

#: Edge of a tile, and by how much tiles overlap at least, voxels.
TILE, OVERLAP = 48, 16
#: Surroundings of the prior that are looked at, voxels.
MARGIN = 16


@torch.inference_mode()
def tiled_logits(network: RefinerNet, inputs: np.ndarray, *, row: int | None = None, device: str = "cpu") -> np.ndarray:
    """Foreground logits of one label by tiles; where tiles overlap, their middles count most.

    Parameters
    ----------
    network : RefinerNet
        In evaluation mode, on `device`.
    inputs : numpy.ndarray, float32, shape (C, I, J, K)
        As `encoding.encode` makes them.
    row : int, optional
        The label's row of the network's modulation; None for the network as it was pre-trained.
    device : {"cpu", "cuda"}
        Where.

    Returns
    -------
    numpy.ndarray, float32, shape (I, J, K)
    """
    shape = inputs.shape[1:]
    # Tiles never reach past the crop, which is padded up to what the network takes.
    edges = tile_edges(shape)
    inputs = padded(inputs, edges)
    total = np.zeros(inputs.shape[1:], dtype=np.float32)
    weight = np.zeros_like(total)
    window = _window(edges)
    index = None if row is None else torch.tensor([row], device=device)
    for corner in itertools.product(*(_starts(n, e) for n, e in zip(total.shape, edges, strict=True))):
        part = tuple(slice(c, c + e) for c, e in zip(corner, edges, strict=True))
        tile = torch.from_numpy(np.ascontiguousarray(inputs[(slice(None), *part)]))[None]
        with torch.autocast(device, torch.bfloat16):
            logits = network(tile.to(device, memory_format=torch.channels_last_3d), index)
        total[part] += window * logits[0, 0].float().cpu().numpy()
        weight[part] += window
    return (total / weight)[tuple(slice(0, n) for n in shape)]


def tile_edges(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Edges of the tiles that cover an array: `TILE`, less where the array is smaller."""
    return tuple(min(TILE, -(-n // MULTIPLE) * MULTIPLE) for n in shape)


def padded(array: np.ndarray, edges: tuple[int, ...]) -> np.ndarray:
    """The last three axes filled up to `edges` with the border's values, as tiles are."""
    missing = [(0, 0)] * (array.ndim - 3)
    missing += [(0, max(0, e - n)) for e, n in zip(edges, array.shape[-3:], strict=True)]
    return np.pad(array, missing, mode="edge")


def _starts(length: int, edge: int) -> list[int]:
    """First voxels of the tiles along one axis, evenly spread."""
    count = 1 if length <= edge else 1 + -(-(length - edge) // (edge - OVERLAP))
    return sorted({round(v) for v in np.linspace(0, length - edge, count)})


def _window(edges: list[int]) -> np.ndarray:
    """Weights of a tile's voxels: a triangle along each axis."""
    parts = [1.0 - np.abs((np.arange(e) + 0.5) / e * 2.0 - 1.0) for e in edges]
    return (parts[0][:, None, None] * parts[1][None, :, None] * parts[2][None, None, :]).astype(np.float32)
