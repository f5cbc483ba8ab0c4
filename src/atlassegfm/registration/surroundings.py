"""What lies around labels in two images, and how unlike the two are there.

How unlike the surroundings of carried labels are to those of the labels in the atlas (mean squared difference of
`mind`) tells a right place from a wrong one, where the similarity of whole images tells little
(docs/decisions/0002-registration.md, 0016-seats.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy import ndimage

from atlassegfm.registration.discrete import DiscreteSearch, Look
from atlassegfm.registration.focus import Focus
from atlassegfm.registration.grids import around, working_copy
from atlassegfm.registration.level import Level, upsampled
from atlassegfm.registration.mind import mind_ssc
from atlassegfm.resampling import resample_image
from atlassegfm.volume import Grid, Volume, bounding_box

#: Voxels along the labels' longest edge; they are larger than those of the images by this factor at least.
VOXELS, COARSER = 28, 1.5
#: Surroundings that are compared, in voxels of that size.
NEAR = 2.0
#: What the features of two images can differ by at most.
MOST_UNLIKE = 1.0


def spacing_for(image: Volume, longest_mm: float) -> float:
    """Voxel size in mm for labels of that longest edge, in an image of the registration's finest spacing."""
    return max(COARSER * float(image.spacing[0]), longest_mm / VOXELS)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Both images at one resolution, and the share that labels have of the voxels of one of them.

    Parameters
    ----------
    fixed, moving : Volume
        Intensities scaled to [0, 1].
    label : torch.Tensor, shape (I, J, K)
        Share of the moving image's voxels, or of the fixed one's.
    device : torch.device
        Where to compute.
    on_fixed : bool
        Whether the share is of the fixed image's voxels.
    """

    fixed: Volume
    moving: Volume
    label: torch.Tensor
    device: torch.device
    on_fixed: bool = False

    @classmethod
    def of(
        cls,
        fixed: Volume,
        moving: Volume,
        label: Volume,
        spacing: float,
        device: torch.device,
        *,
        on_fixed: bool = False,
    ) -> Surroundings:
        """Copies with voxels of `spacing` mm; `label` is 1 inside and 0 elsewhere, on a grid of its own."""
        fixed, moving = (v if _is(v, spacing) else working_copy(v, spacing) for v in (fixed, moving))
        share = resample_image(label, (fixed if on_fixed else moving).grid, antialias=True)
        return cls(fixed, moving, torch.as_tensor(share.data, device=device), device, on_fixed)

    @classmethod
    def of_focus(cls, pair: tuple[Volume, Volume], focus: Focus, device: torch.device) -> Surroundings:
        """All labels of a focus together, between images of the registration's finest spacing."""
        data = focus.labels.data > 0
        box = bounding_box(data, margin=1)
        labels = Volume(data[box].astype(np.float32), focus.labels.grid.cropped(box))
        spacing = spacing_for(pair[0], float(np.max(labels.grid.extent_mm)))
        return cls.of(*pair, labels, spacing, device, on_fixed=focus.on_fixed)

    @cached_property
    def features(self) -> torch.Tensor:
        """Those of the fixed image, (12, I, J, K)."""
        return mind_ssc(torch.as_tensor(self.fixed.data, device=self.device))

    @property
    def kept(self) -> float:
        """Part of the label that lies in voxels of which it has the half."""
        return float(self.label[self.label >= 0.5].sum() / self.label.sum().clamp_min(1e-6))

    def cut(self, points: np.ndarray, margin: float) -> Surroundings:
        """The fixed image cut down to `margin` voxels around world points; for a label on the moving one."""
        return replace(self, fixed=around(self.fixed, points, margin))

    def level(self, matrix: np.ndarray) -> Level:
        """Both images under an affine matrix, fixed to moving world points."""
        return Level(self.fixed, self.moving, matrix, self.device)

    def searched(self, matrix: np.ndarray, u: torch.Tensor, looks: Sequence[Look]) -> torch.Tensor:
        """The displacement that a search from `u` on finds."""
        images = self.fixed, self.moving
        return DiscreteSearch(images, images, self.device, looks, features=self.features).displacement(matrix, u)

    def unlikeness(self, matrix: np.ndarray, u: torch.Tensor, near: float) -> tuple[float, np.ndarray]:
        """How unlike both are within `near` voxels of the label under `u` and the matrix, and the label's mask there.

        Infinite where nothing of the label is left.
        """
        image, mask = self._carried(matrix, u)
        if not mask.any():
            return np.inf, mask
        return _unlikeness(self.features, image, mask, near), mask

    def unlikeness_of(self, matrix: np.ndarray, displacement: torch.Tensor, grid: Grid) -> float:
        """The same for a displacement in voxels of another grid over the fixed image's field of view; at most 1.

        Nothing is computed for what lies farther from the label.
        """
        u = upsampled(self.level(matrix).ops, displacement, grid, self.fixed.grid)
        image, mask = self._carried(matrix, u)
        box = bounding_box(mask, margin=int(np.ceil(NEAR)) + 2)
        if box is None:
            return MOST_UNLIKE
        features = mind_ssc(torch.as_tensor(self.fixed.data[box], device=self.device))
        return _unlikeness(features, image[box], mask[box], NEAR)

    def _carried(self, matrix: np.ndarray, u: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
        """The moving image under `u` and the matrix, and the label's mask on the fixed image's voxels."""
        level = self.level(matrix)
        if self.on_fixed:
            image, seen = level.warped(u)
            share = self.label * seen
        else:
            image, share = level.ops.warp(torch.stack([level.m, self.label]), level.to_moving, u)[0]
        return image, share.cpu().numpy() >= 0.5


def _unlikeness(features: torch.Tensor, image: torch.Tensor, mask: np.ndarray, near: float) -> float:
    """Mean squared difference of the features and those of an image, within `near` voxels of the mask."""
    difference = (features - mind_ssc(image)).square().mean(dim=0).cpu().numpy()
    close = ndimage.distance_transform_edt(~mask) < near
    return float(difference[close].mean(dtype=np.float64))


def _is(image: Volume, spacing: float) -> bool:
    """Whether the image has voxels of that size already."""
    return bool(np.allclose(image.spacing, spacing, rtol=1e-6))
