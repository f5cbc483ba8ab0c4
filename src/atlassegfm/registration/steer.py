"""A registration steered towards the places where labels were found one by one.

A seat (`seat`) is a map for one label. Where seats are made part of the map of the whole image, that stays smooth and
invertible, and what lies around the labels follows. It cannot take organs past each other, so labels come nearer to
their seats and not all the way (docs/decisions/0016-seats.md).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from atlassegfm.registration.operators import compose, inverse, operators
from atlassegfm.registration.seat import Seat
from atlassegfm.registration.transform import Transform, voxel_displacement
from atlassegfm.registration.unfold import unfolded
from atlassegfm.resampling import warp_labels_apart
from atlassegfm.volume import Grid, Volume

#: Gaussian width over which the pull of a label fades, as part of its edge (were it a cube).
FADING = 0.15
#: Weight of what wants to stay, everywhere; that of a label's inside is 1.
STAYING = 0.02


def steered(
    forward: Transform, seats: Mapping[int, Seat], labels: Volume, grid: Grid, device: torch.device
) -> torch.Tensor:
    """The registration's displacement, pulled towards the seats.

    The place x of a label in its seat is at c(x) under the registration: (id + u)(x + c(x)) is where the seat's map
    takes it. These c, zero in labels that have no seat, are smoothed by a normalised convolution (Knutsson and Westin,
    CVPR 1993), and the registration follows them: u o (id + c).

    Parameters
    ----------
    forward : Transform
        The registration: fixed to moving world points, RAS+ mm.
    seats : mapping of int to Seat
        By label; at least one.
    labels : Volume
        Label map on the moving image's grid.
    grid : Grid
        Over the fixed image, isotropic.
    device : torch.device
        Where to compute.

    Returns
    -------
    torch.Tensor, shape (3, I, J, K)
        In voxels of `grid`, to be followed by the registration's matrix; it does not fold where that can be helped.
    """
    ops = operators(device)
    values = [int(v) for v in np.unique(labels.data) if v != 0]
    maps = {v: seats[v].transform if v in seats else forward for v in values}
    places = torch.as_tensor(warp_labels_apart(labels, grid, maps).data.astype(np.int64), device=device)

    def told(transform: Transform) -> torch.Tensor:
        return torch.as_tensor(voxel_displacement(transform, forward.matrix, grid), device=device)

    known = told(forward)
    back = inverse(ops, known)[0]
    pull = torch.zeros_like(known)
    for value, seat in seats.items():
        pull += (places == value) * compose(ops, back, told(seat.transform))
    weight = (places > 0).float()[None]
    edge = min(np.count_nonzero(labels.data == v) for v in seats) ** (1.0 / 3.0) * labels.grid.voxel_edge_mm
    around = ops.smooth(torch.cat([pull, weight]), FADING * edge / float(grid.spacing[0]))
    return unfolded(ops, compose(ops, known, around[:3] / (around[3:] + STAYING)))[0]
