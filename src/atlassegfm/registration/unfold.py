"""Taking folds out of a displacement: where a map folds it follows no anatomy, and smoothing it costs little."""

from __future__ import annotations

import torch

from atlassegfm.registration.grids import determinant
from atlassegfm.registration.operators import Operators

#: Rounds of smoothing at most; what still folds after them stays and is reported.
ROUNDS = 12
#: Gaussian widths in voxels: of the smoothing, and of the passage from smoothed to untouched.
SIGMA, PASSAGE_SIGMA = 1.5, 2.0
#: The passage's weights are raised by this factor and cut at 1, so that a single voxel is wholly smoothed.
RAISE = 60.0


def unfolded(ops: Operators, u: torch.Tensor) -> tuple[torch.Tensor, float]:
    """The displacement smoothed around its folds until there are none.

    Parameters
    ----------
    ops : Operators
        For the device of `u`.
    u : torch.Tensor, shape (3, I, J, K)
        Displacement in voxels; comes back untouched when it does not fold.

    Returns
    -------
    tuple
        The displacement, and the percentage of its voxels that still fold.
    """
    folds = determinant(u) <= 0
    for _ in range(ROUNDS):
        if not folds.any():
            break
        weight = ops.smooth_inside(folds.float()[None], PASSAGE_SIGMA).mul_(RAISE).clamp_max_(1.0)
        u = u + weight * (ops.smooth_inside(u, SIGMA) - u)
        folds = determinant(u) <= 0
    return u, 100.0 * float(folds.float().mean())
