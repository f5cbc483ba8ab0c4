"""What models share that want one voxel size and axes right-anterior-superior: there, and back without loss."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from atlassegfm.models.foundation import FoundationModel
from atlassegfm.models.preparation import Oriented, Resampled
from atlassegfm.prompts import THRESHOLD, Point, Prompt, central_voxel, largest_component
from atlassegfm.volume import Volume


class ResampledModel(FoundationModel):
    """A model that sees the image in isotropic voxels."""

    #: Voxel edge in mm.
    spacing_mm: ClassVar[float] = 1.5

    def _look(self, image: Volume) -> None:
        self._axes = Oriented(image.grid, "RAS")
        self._fine = Resampled(self._axes.grid, self.spacing_mm)
        self._kept: np.ndarray | None = None

    def _scaled(self, data: np.ndarray) -> np.ndarray:
        """Intensities as the model wants them; those of the resampled image as they are."""
        return data

    @abstractmethod
    def _seen(self, prompt: Prompt, coarse: np.ndarray, scale: float) -> np.ndarray:
        """Probability on the resampled grid, NaN where the model has not looked; `coarse` is the resampled prior."""

    def _answer(self, prompt: Prompt, scale: float) -> np.ndarray:
        prior = self._axes.array(prompt.mask)
        coarse = self._fine.array(prior)
        found = self._seen(prompt, coarse, scale)
        # Where the model has seen nothing, the prior stands.
        return self._axes.back(self._fine.back(np.where(np.isfinite(found), found, coarse), prior, coarse))

    @property
    def _data(self) -> np.ndarray:
        """The image on the resampled grid."""
        if self._kept is None:
            self._kept = self._scaled(self._fine.array(self._axes.array(self.image.data.astype(np.float32))))
        return self._kept

    def _claimed(self, coarse: np.ndarray) -> np.ndarray:
        """Mask of the resampled prior; of a label smaller than a voxel the voxels that hold most of it."""
        return coarse >= min(THRESHOLD, float(coarse.max()))

    def _click(self, prompt: Prompt, mask: np.ndarray) -> Point:
        """The prompt's click on the resampled grid; for other prompts the centre of the mask."""
        if prompt.point is not None:
            return self._fine.point(self._axes.point(prompt.point))
        component, corner = largest_component(mask)
        voxel = central_voxel(component, self._fine.grid.spacing)
        return tuple(v + c for v, c in zip(voxel, corner, strict=True))
