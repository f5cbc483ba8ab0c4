"""The network on whole labels: crop around the prior, tiles that overlap, a probability for each voxel of the crop."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from atlassegfm.builtin.encoding import encode
from atlassegfm.builtin.network import MULTIPLE, RefinerNet
from atlassegfm.volume import Volume, bounding_box

#: Edge of a tile, and by how much tiles overlap at least, voxels.
TILE, OVERLAP = 48, 16
#: Surroundings of the prior that are looked at, voxels.
MARGIN = 16


def refine_labels(
    network: RefinerNet, image: Volume, priors: Volume, *, device: str = "cpu"
) -> dict[int, tuple[tuple[slice, ...], np.ndarray]]:
    """Foreground probability of every label, each on a crop around its prior.

    Parameters
    ----------
    network : RefinerNet
        In evaluation mode, on `device`.
    image, priors : Volume
        Image and imperfect label map on one isotropic working grid.
    device : {"cpu", "cuda"}
        Where.

    Returns
    -------
    dict of int to (tuple of slice, numpy.ndarray)
        Per label present in the priors: box of the grid and float32 probabilities on it; zero elsewhere.
    """
    found = {}
    for value in np.unique(priors.data):
        if value == 0:
            continue
        box = bounding_box(priors.data == value, margin=MARGIN)
        labels = priors.data[box]
        own = labels == value
        inputs = encode(image.data[box].astype(np.float32, copy=False), own, (labels != 0) & ~own)
        found[int(value)] = box, tiled_probability(network, inputs, device=device)
    return found


@torch.inference_mode()
def tiled_probability(network: RefinerNet, inputs: np.ndarray, *, device: str = "cpu") -> np.ndarray:
    """Probability (I, J, K) of encoded inputs (C, I, J, K); where tiles overlap, their middles count most."""
    shape = inputs.shape[1:]
    # Tiles never reach past the crop, which is padded up to what the network takes.
    edges = [min(TILE, -(-n // MULTIPLE) * MULTIPLE) for n in shape]
    padding = [(0, 0)] + [(0, max(0, e - n)) for e, n in zip(edges, shape, strict=True)]
    padded = np.pad(inputs, padding, mode="edge")
    total = np.zeros(padded.shape[1:], dtype=np.float32)
    weight = np.zeros_like(total)
    window = _window(edges)
    for corner in itertools.product(*(_starts(n, e) for n, e in zip(total.shape, edges, strict=True))):
        part = tuple(slice(c, c + e) for c, e in zip(corner, edges, strict=True))
        tile = torch.from_numpy(np.ascontiguousarray(padded[(slice(None), *part)]))[None]
        with torch.autocast(device, torch.bfloat16):
            logits = network(tile.to(device, memory_format=torch.channels_last_3d))
        total[part] += window * torch.sigmoid(logits)[0, 0].float().cpu().numpy()
        weight[part] += window
    return (total / weight)[tuple(slice(0, n) for n in shape)]


def _starts(length: int, edge: int) -> list[int]:
    """First voxels of the tiles along one axis, evenly spread."""
    count = 1 if length <= edge else 1 + -(-(length - edge) // (edge - OVERLAP))
    return sorted({round(v) for v in np.linspace(0, length - edge, count)})


def _window(edges: list[int]) -> np.ndarray:
    """Weights of a tile's voxels: a triangle along each axis."""
    parts = [1.0 - np.abs((np.arange(e) + 0.5) / e * 2.0 - 1.0) for e in edges]
    return (parts[0][:, None, None] * parts[1][None, :, None] * parts[2][None, None, :]).astype(np.float32)
