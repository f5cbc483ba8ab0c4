"""Step 3: a segmentation model is a session that sees an image once and answers one prompt per label."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from atlassegfm.models.border_errors import border_error, depth, error_limit, settled_errors
from atlassegfm.prompts import Prompt, make_prompt
from atlassegfm.volume import Volume


def prompt_from_labels(labels: Volume, value: int, kind: str) -> Prompt | None:
    """Prompt for one label of a warped label map, the other labels being its rivals; None when the label is lost."""
    mask = labels.data == value
    return make_prompt(
        kind, mask.astype(np.float32), labels.grid, value, ((labels.data > 0) & ~mask).astype(np.float32)
    )


@dataclass(frozen=True, eq=False)
class Support:
    """The atlas as one-shot training material.

    Parameters
    ----------
    image : Volume
        Atlas image.
    truth : Volume
        Atlas label map on the image's grid.
    priors : Volume
        An imperfect copy of the label map on the same grid, as registration would give it.
    kind : str
        The kind of prompt that the model is given.
    optimism : float
        The priors err by so many times as much as is told of them.
    """

    image: Volume
    truth: Volume
    priors: Volume
    kind: str = "mask"
    optimism: float = 1.0

    @cached_property
    def values(self) -> list[int]:
        """Label values present in the truth, ascending."""
        return [int(v) for v in np.unique(self.truth.data) if v != 0]

    @cached_property
    def digests(self) -> tuple[str, str]:
        """What image and truth are known by (`Volume.digest`); a tenth of a second for a large image, so only once."""
        return self.image.digest(), self.truth.digest()

    @cached_property
    def depths(self) -> dict[int, float]:
        """Greatest distance in mm from a voxel of each label to its border."""
        return {v: depth(self.truth.data == v, self.truth.spacing) for v in self.values}

    @cached_property
    def limits(self) -> dict[int, float]:
        """The most in mm that the border of each label's prior may err to teach anything (`error_limit`)."""
        return {v: error_limit(d, self.truth.grid.voxel_edge_mm) for v, d in self.depths.items()}

    @cached_property
    def errors(self) -> dict[int, float]:
        """By how many mm the borders of each label's prior are said to be off, as far as that can be believed."""
        found = {v: border_error(self.priors.data == v, self.truth.data == v, self.truth.spacing) for v in self.values}
        settled = settled_errors(found, self.limits, self.truth.grid.voxel_edge_mm)
        return {v: error / self.optimism for v, error in settled.items()}

    def prompt(self, value: int) -> Prompt | None:
        """The imperfect prompt of one label; None when the prior lost it."""
        return prompt_from_labels(self.priors, value, self.kind)


class SegmentationModel(ABC):
    """A frozen (or once customised) segmentation model.

    Attributes
    ----------
    lasting : bool
        Whether `identity` tells all that decides an answer in another process, too.
    notices : list of str
        What the user has to know of what happened inside; grows while the model works.
    """

    lasting: bool = False

    @property
    def notices(self) -> list[str]:
        """What the user has to know; empty when all went as usual."""
        return self.__dict__.setdefault("_notices", [])

    def load(self) -> None:
        """Load what is needed, so that what is missing or damaged shows before anything is computed."""
        return

    def describe(self) -> dict[str, Any]:
        """JSON-ready facts for the report: weights with their hash, preparation, where the probability comes from."""
        return {}

    def expected_seconds(self, image: Volume, labels: int) -> float:
        """Roughly what `set_image` and an answer for each of so many labels take here; 0 where it is no matter."""
        return 0.0

    def customise(self, support: Support) -> dict[str, Any]:
        """Adapt to the atlas; models that cannot are left as they are.

        Returns
        -------
        dict
            JSON-ready facts for the report; "learnable_parameters" counts the numbers that were learnt (None where
            what was learnt is no set of numbers), 0 for a frozen model.
        """
        return {"learnable_parameters": 0}

    def identity(self, value: int) -> Hashable | None:
        """What decides `segment_support` beside its arguments; None where that cannot be told.

        Two sessions of one process that are equal in this give the same answer to the same question; those of two
        processes as well if the model is `lasting`.
        """
        return None

    def segment_support(self, support: Support, value: int) -> np.ndarray:
        """Foreground probability on the atlas from its imperfect prompt, for the fusion to learn from.

        A model that was customised on the atlas must answer as if it had not seen the voxels it answers for.

        Returns
        -------
        numpy.ndarray
            float32 in [0, 1], shape of the atlas's grid.
        """
        self.set_image(support.image)
        prompt = support.prompt(value)
        return np.zeros(support.image.grid.shape, dtype=np.float32) if prompt is None else self.segment(prompt)

    @abstractmethod
    def set_image(self, image: Volume) -> None:
        """Look at an image; all prompts after this are about it."""

    @abstractmethod
    def segment(self, prompt: Prompt) -> np.ndarray:
        """Foreground probability, float32 in [0, 1], on the image's grid."""
