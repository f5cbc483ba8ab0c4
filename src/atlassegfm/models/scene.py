"""What the voxelwise model sees: one image with its features, and the surroundings of one label's prior in it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from atlassegfm.models.features import (
    appearance_features,
    image_features,
    prior_features,
    rank_intensities,
    signed_distance,
)
from atlassegfm.volume import Grid, Volume, bounding_box

#: Smoothing of the answer, in cube roots of the voxel volume.
SMOOTHING = 0.6
#: Margin of the features around the labels, same unit: the widest band that is classified, and what features look at.
MARGIN = 21.0


@dataclass(frozen=True, eq=False)
class Scene:
    """One image with the features that all labels and priors share, around where the labels may be."""

    labelled: np.ndarray
    box: tuple[slice, slice, slice]
    grid: Grid
    ranks: np.ndarray
    features: list[np.ndarray]

    @classmethod
    def around(cls, image: Volume, labelled: np.ndarray, near: float) -> Scene | None:
        """Look at `image` around the voxels `labelled`, intensities ranked within `near` mm of them; None without any.

        It does not depend on how far priors err, so that what is learnt from one look holds for every other.
        """
        spacing = image.spacing
        box = bounding_box(labelled, margin=np.ceil(MARGIN * image.grid.voxel_edge_mm / spacing).astype(int))
        if box is None:
            return None
        ranks = rank_intensities(image.data[box], signed_distance(labelled[box], spacing) <= near)
        # Half precision halves the largest thing in memory; ranks need three digits.
        features = image_features(ranks, spacing, np.float16)
        return cls(labelled[box].copy(), box, image.grid, ranks, features)

    def is_around(self, labelled: np.ndarray) -> bool:
        """Whether the look was `around` these voxels."""
        here = labelled[self.box]
        return np.count_nonzero(labelled) == np.count_nonzero(here) and np.array_equal(here, self.labelled)

    def view(self, mask: np.ndarray, rivals: np.ndarray, reach: float, size: float) -> View | None:
        """Features of the voxels within `reach` of one label's prior; None when the prior is empty.

        By how much the prior is said to err, `size` in mm, is the last of the features.
        """
        mask, rivals = mask[self.box], rivals[self.box]
        part = bounding_box(mask, margin=np.ceil(2.5 * reach / self.grid.spacing).astype(int))
        if part is None:
            return None
        own, others, ranks = mask[part], rivals[part], self.ranks[part]
        distance = signed_distance(own, self.grid.spacing)
        band = np.abs(distance) <= reach
        own_features = [
            *prior_features(distance, others, reach, self.grid.spacing),
            *appearance_features(ranks, distance, reach, self.grid.spacing),
        ]
        said = np.full(np.count_nonzero(band), np.log2(size), dtype=np.float32)
        rows = np.stack([*(f[band] for f in own_features), *(f[part][band] for f in self.features), said], axis=1)
        corner = np.array([outer.start + inner.start for outer, inner in zip(self.box, part, strict=True)])
        return View(corner, band, distance, rows.astype(np.float32, copy=False))

    def probabilities(self, view: View, values: np.ndarray) -> np.ndarray:
        """Probability on the image's grid: `values` in the band of the view, the prior elsewhere."""
        crop = (view.distance <= 0).astype(np.float32)
        crop[view.band] = values
        unit = self.grid.voxel_edge_mm
        # Neighbouring voxels are judged apart from each other; a little smoothing lets them agree.
        crop = ndimage.gaussian_filter(crop, SMOOTHING * unit / self.grid.spacing, mode="nearest", truncate=3.0)
        out = np.zeros(self.grid.shape, dtype=np.float32)
        box = tuple(slice(c, c + n) for c, n in zip(view.corner, crop.shape, strict=True))
        out[box] = np.clip(crop, 0.0, 1.0)
        return out


@dataclass(frozen=True, eq=False)
class View:
    """One prior's surroundings: corner of the crop, voxels to classify, distance to the prior, features (n, F)."""

    corner: np.ndarray
    band: np.ndarray
    distance: np.ndarray
    rows: np.ndarray

    def index(self) -> np.ndarray:
        """Voxel indices (n, 3) of the rows on the image's grid."""
        return np.argwhere(self.band) + self.corner
