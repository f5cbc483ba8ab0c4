"""Does the mirror image of the atlas fit the query better than the atlas? Then left and right are exchanged in one.

No registration of ours turns an image into its mirror image, and none of its own signals tells (docs/decisions/
0007-failed-registrations.md); asking the question outright does, where a body is not nearly symmetric.
"""

from __future__ import annotations

import torch

from atlassegfm.registration.copies import scaled_copy, working_spacing
from atlassegfm.registration.deformable import try_candidates
from atlassegfm.registration.grids import coarse_copies, shortest_edge, working_copy
from atlassegfm.registration.initialise import StartSearch
from atlassegfm.registration.knobs import DeformableSettings
from atlassegfm.registration.linear import affine_candidates
from atlassegfm.registration.transform import sides_exchanged
from atlassegfm.runtime import side_by_side
from atlassegfm.volume import Volume

#: Voxels along the longest edge for the affine fit, starts taken from the search; voxel size of the deformable level
#: relative to the working copies, and the fewest voxels along its shortest edge.
LINEAR_VOXELS = 32
STARTS = 3
COARSEST, FEWEST_VOXELS = 4, 10
#: The mirror image has to fit better by so much (docs/decisions/0014-quality.md).
MARGIN = 0.01
#: Fitness of images that look alike nowhere.
HOPELESS = -1.0


def mirrored_fits_better(fixed: Volume, moving: Volume, device: str = "cpu") -> bool:
    """Whether the moving image's mirror image, left and right exchanged, fits the fixed image better than itself.

    Parameters
    ----------
    fixed, moving : Volume
        Images with raw intensities.
    device : str
        "cpu" or "cuda".
    """
    spacing = working_spacing(fixed, moving)
    target, own = scaled_copy(fixed, spacing), scaled_copy(moving, spacing)
    other = Volume(own.data, sides_exchanged(own.grid).moved(own.grid))
    usual, mirrored = side_by_side(lambda image: fitness(target, image, device), (own, other))
    return mirrored > usual + MARGIN


def fitness(fixed: Volume, moving: Volume, device: str = "cpu") -> float:
    """How well two images come together: scores of the affine step and of the coarsest deformable level, summed up.

    Parameters
    ----------
    fixed, moving : Volume
        Copies with isotropic voxels of one size, intensities scaled to [0, 1].
    device : str
        "cpu" or "cuda".
    """
    found = StartSearch(fixed, moving).starts(STARTS)
    voxel = float(fixed.spacing[0])
    coarse = max(min(COARSEST * voxel, shortest_edge(fixed, moving) / FEWEST_VOXELS), voxel)
    fits = affine_candidates(*coarse_copies(fixed, moving, LINEAR_VOXELS), found)
    if not fits:
        return HOPELESS
    levels = [working_copy(image, coarse) for image in (fixed, moving)]
    candidate = try_candidates(*levels, fits[:1], DeformableSettings(), torch.device(device))[0]
    return float(fits[0].score + candidate.score)
