"""A scan's isotropic working copy around its labels, the ways there, and the way back to the scan's own grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlassegfm.resampling import resample_image, resample_labels
from atlassegfm.volume import Grid, Volume, bounding_box

#: A scan's working copy has no more voxels than this, whole field of view counted.
MOST_VOXELS = 3_000_000
#: Surroundings of the labels that a working copy shows, voxels of the copy.
SURROUNDINGS = 24
#: Logit where the network was not asked: certainly not the label.
ABSENT = -30.0


def working_spacing(grid: Grid) -> float:
    """Voxel size in mm whose cube is a native voxel's volume, or larger where `MOST_VOXELS` asks for it; two digits."""
    native = float(np.prod(grid.spacing))
    return float(f"{max(native, float(np.prod(grid.extent_mm)) / MOST_VOXELS) ** (1.0 / 3.0):.2g}")


@dataclass(frozen=True, eq=False)
class WorkingCopy:
    """Part of a scan on an isotropic grid.

    Attributes
    ----------
    source : Grid
        Grid of the scan.
    part : tuple of slice
        Box of the scan that the copy shows.
    image : Volume
        float32 intensities, antialiased, in the scan's unit.
    """

    source: Grid
    part: tuple[slice, ...]
    image: Volume

    @classmethod
    def around(cls, image: Volume, seen: np.ndarray, spacing_mm: float) -> WorkingCopy | None:
        """Copy of `image` around the voxels `seen` (bool, on its grid); None when there are none."""
        part = _surroundings(image.grid, seen, spacing_mm)
        if part is None:
            return None
        cropped = Volume(image.data[part], image.grid.cropped(part))
        return cls(image.grid, part, resample_image(cropped, cropped.grid.with_spacing(spacing_mm), antialias=True))

    def is_around(self, seen: np.ndarray) -> bool:
        """Whether `around` these voxels would make the same copy."""
        return _surroundings(self.source, seen, float(self.image.spacing[0])) == self.part

    def labels(self, labels: np.ndarray) -> np.ndarray:
        """A label map of the scan's grid on the copy's."""
        cropped = Volume(labels[self.part], self.source.cropped(self.part))
        return resample_labels(cropped, self.image.grid).data

    def voxel(self, point: np.ndarray) -> np.ndarray:
        """Voxel coordinates (..., 3) of the copy for voxel coordinates of the scan."""
        return self.image.grid.to_voxel(self.source.to_world(point))

    def probability(self, logits: np.ndarray, box: tuple[slice, ...]) -> np.ndarray:
        """Probability on the scan's grid, float32, from logits on the part `box` of the copy; 0 elsewhere.

        Logits are interpolated rather than probabilities: they are nearly linear across a border.
        """
        grid = self.image.grid.cropped(box)
        corners = self.source.to_voxel(grid.corners)
        reach = 0.5 * grid.spacing / self.source.spacing
        low = np.maximum(np.ceil(corners.min(axis=0) - reach - 1e-6), 0).astype(int)
        high = np.minimum(np.floor(corners.max(axis=0) + reach + 1e-6) + 1, self.source.shape).astype(int)
        part = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        fine = resample_image(Volume(logits, grid), self.source.cropped(part), fill=ABSENT).data
        out = np.zeros(self.source.shape, dtype=np.float32)
        out[part] = 1.0 / (1.0 + np.exp(-np.clip(fine, ABSENT, -ABSENT)))
        return out


def _surroundings(grid: Grid, seen: np.ndarray, spacing_mm: float) -> tuple[slice, ...] | None:
    return bounding_box(seen, margin=np.ceil(SURROUNDINGS * spacing_mm / grid.spacing).astype(int))
