"""MIND-SSC: what a place looks like, told by how alike the patches around it are to each other.

Contrast, and even which tissue is bright, drop out; what remains is the shape of edges and corners (Heinrich et al.,
"Towards realtime multimodal fusion for image-guided interventions using self-similarities", MICCAI 2013).
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import torch
from torch.nn import functional as nnf

from atlassegfm.registration import kernels
from atlassegfm.registration.grids import box_sum
from atlassegfm.registration.mind_kernels import self_similarities

#: The six neighbours of a voxel; the twelve pairs of them that are no opposites are compared.
NEIGHBOURS = ((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1))
PAIRS = tuple((a, b) for a, b in combinations(range(6), 2) if a // 2 != b // 2)
#: Half width of the patches in voxels; that of the compiled loops is 1, too.
PATCH = 1
#: The spread of the differences counts as no less and no more than its mean over the image times and over this.
SPREAD = 1e3


def mind_ssc(image: torch.Tensor) -> torch.Tensor:
    """Twelve self-similarities of each voxel.

    Parameters
    ----------
    image : torch.Tensor, shape (I, J, K)
        Intensities; the scale does not matter.

    Returns
    -------
    torch.Tensor, shape (12, I, J, K)
        ``exp(-(D - min D) / V)`` with D the mean squared differences of the patches of each pair of neighbours
        and V their mean over the pairs (Eq. 2 and 3 there); in (0, 1], all 1 where the image is constant.
    """
    found = _differences(image)
    spread = found.mean(dim=0, keepdim=True)
    # In numpy: torch's sum depends on the number of threads, and so would everything after it.
    usual = float(spread.cpu().numpy().mean(dtype="float64"))
    if usual <= 0.0:
        return torch.ones_like(found)
    return found.div_(spread.clamp_(usual / SPREAD, usual * SPREAD).neg_()).exp_()


def _differences(image: torch.Tensor) -> torch.Tensor:
    """``D - min D`` of each voxel, shape (12, I, J, K); on a CPU from compiled loops."""
    if image.device.type != "cpu":
        return differences_by_shifts(image)
    out = torch.empty(len(PAIRS), *image.shape)
    arrays = image.contiguous().numpy(), np.array(PAIRS), out.numpy()
    kernels.run_slabs(self_similarities, len(image), image.numel() * len(PAIRS), *arrays)
    return out


def differences_by_shifts(image: torch.Tensor) -> torch.Tensor:
    """The same to the bit from shifted images, on any device."""
    shape = image.shape
    padded = nnf.pad(image[None, None], (1,) * 6, mode="replicate")[0, 0]
    moved = [padded[tuple(slice(1 + d, 1 + d + n) for d, n in zip(step, shape, strict=True))] for step in NEIGHBOURS]
    count = box_sum(torch.ones_like(image)[None], PATCH)
    found = torch.cat([box_sum((moved[a] - moved[b]).square()[None], PATCH) for a, b in PAIRS])
    return found.div_(count).sub_(found.amin(dim=0, keepdim=True))
