"""The finest level where the labels are, and nowhere else.

Most of its time goes to places that no label comes near. What the coarser levels found stays there, and passes smoothly
into what the finest one finds (docs/decisions/0002-registration.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from atlassegfm.registration.focus import Focus, Pair
from atlassegfm.registration.grids import apply_matrix, around, cut, identity, voxel_map
from atlassegfm.volume import bounding_box

#: How far a piece reaches beyond the labels' box; within this, its displacement passes into that of the surroundings.
MARGIN_MM = 10.0
#: A piece that fills more than this share of the level saves nothing.
MOST = 0.8


@dataclass(frozen=True, eq=False)
class Piece:
    """Part of a level.

    Parameters
    ----------
    box : tuple of three slices
        Of the fixed image's voxels.
    shape : tuple of three ints
        Of the whole fixed image.
    pair : (Volume, Volume)
        Fixed and moving image, cut down.
    """

    box: tuple[slice, slice, slice]
    shape: tuple[int, int, int]
    pair: Pair

    def part(self, u: torch.Tensor) -> torch.Tensor:
        """The piece of a displacement (3, I, J, K) on the whole level."""
        return u[(slice(None), *self.box)].contiguous()

    def blended(self, u: torch.Tensor, found: torch.Tensor) -> torch.Tensor:
        """The displacement of the whole level with what was `found` on the piece."""
        out = u.clone()
        mine = out[(slice(None), *self.box)]
        mine += self._weight().to(u.device) * (found - mine)
        return out

    def _weight(self) -> torch.Tensor:
        """1 within the margin, falling towards the sides at which the piece was cut off."""
        out = torch.ones(())
        margin = MARGIN_MM / self.pair[0].spacing
        for axis, (side, size) in enumerate(zip(self.box, self.shape, strict=True)):
            at = torch.arange(side.stop - side.start, dtype=torch.float32)
            near = torch.full_like(at, torch.inf)
            if side.start > 0:
                near = torch.minimum(near, at + 1.0)
            if side.stop < size:
                near = torch.minimum(near, len(at) - at)
            sides = [1, 1, 1]
            sides[axis] = -1
            out = out * (near / float(margin[axis])).clamp_max(1.0).view(sides)
        return out


def piece_of(focus: Focus, pair: Pair, matrix: np.ndarray, u: torch.Tensor) -> Piece | None:
    """The labels' piece of a level.

    Parameters
    ----------
    focus : Focus
        Where the labels are.
    pair : (Volume, Volume)
        Fixed and moving image of the level.
    matrix : numpy.ndarray, shape (4, 4)
        Fixed to moving world points, RAS+ mm.
    u : torch.Tensor, shape (3, I, J, K)
        Displacement so far, in voxels of the fixed image; tells which of its voxels see the labels.

    Returns
    -------
    Piece or None
        None where the labels are not in sight, or the piece would be most of the level.
    """
    fixed, moving = pair
    here = identity(fixed.grid.shape, u.device)
    there = apply_matrix(voxel_map(fixed.grid, moving.grid, matrix), here + u)
    labelled, at = (fixed, here) if focus.on_fixed else (moving, there)
    corners = labelled.grid.to_voxel(np.array(focus.corners))
    within = torch.ones(fixed.grid.shape, dtype=torch.bool, device=u.device)
    for axis, (low, high) in enumerate(zip(corners.min(axis=0).tolist(), corners.max(axis=0).tolist(), strict=True)):
        within &= (at[axis] >= low) & (at[axis] <= high)
    box = bounding_box(within.cpu().numpy(), np.ceil(MARGIN_MM / fixed.spacing).astype(int))
    if box is None:
        return None
    part = cut(fixed, box)
    if part.grid.size > MOST * fixed.grid.size:
        return None
    seen = there[(slice(None), *box)].flatten(1)
    ends = moving.grid.to_world(torch.stack([seen.amin(dim=1), seen.amax(dim=1)]).cpu().numpy())
    return Piece(box, fixed.grid.shape, (part, around(moving, ends, MARGIN_MM / moving.spacing)))
