"""What the model answers about a label, and on the atlas the lesson that it makes for the fusion."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atlassegfm.competition import favouring_dice
from atlassegfm.fusion.base import Example
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.models.store import UNREADABLE
from atlassegfm.volume import bounding_box

#: Surroundings of both masks, in mm, within which fusion works.
FUSION_MARGIN_MM = 12.0


@dataclass(frozen=True, eq=False)
class Answered:
    """One label's prior and the model's answer on a part of the image's grid; nothing of the image.

    Parameters
    ----------
    box : tuple of three slices
        The part.
    prior : numpy.ndarray
        The label's mask as the model was given it.
    answer : numpy.ndarray, same shape, float32
        Probability in [0, 1], as the fusion wants it (`competition.favouring_dice`).
    """

    box: tuple[slice, slice, slice]
    prior: np.ndarray
    answer: np.ndarray

    @classmethod
    def around(
        cls, prior: np.ndarray, answer: np.ndarray, spacing: np.ndarray, seen: np.ndarray | None = None
    ) -> Answered:
        """Cut out of whole volumes what lies around the answer and the prior, or in its place what is to be `seen`."""
        box = union_box(prior if seen is None else seen, answer, spacing)
        # Copies: the whole volumes must not stay alive.
        return cls(box, prior[box].copy(), answer[box].copy())

    @classmethod
    def of(cls, session: SegmentationModel, lesson: Support, value: int) -> Answered:
        """Ask about a label of the lesson."""
        prior, truth = lesson.priors.data == value, lesson.truth.data == value
        answer = favouring_dice(session.segment_support(lesson, value))
        return cls.around(prior, answer, lesson.image.spacing, prior | truth)

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.prior.nbytes + self.answer.nbytes

    def example(self, support: Support, value: int) -> Example:
        """With image and truth, what the fusion learns from."""
        image, truth = support.image, support.truth.data[self.box] == value
        return Example.checked(
            self.prior.astype(np.float32), self.answer, truth, image.data[self.box], tuple(image.spacing)
        )

    def write(self, path: Path) -> None:
        """Write it to a file."""
        box = np.array([(s.start, s.stop) for s in self.box])
        with path.open("wb") as file:
            np.savez_compressed(file, box=box, prior=self.prior, answer=self.answer)

    @classmethod
    def read(cls, path: Path) -> Answered | None:
        """What `write` wrote; None for a file that is missing or damaged, or holds something else."""
        try:
            with np.load(path, allow_pickle=False) as arrays:
                box = tuple(slice(*ends) for ends in arrays["box"].tolist())
                return cls(box, arrays["prior"], arrays["answer"])
        except UNREADABLE:
            # Asking again costs seconds; a damaged file must not cost the run.
            return None


def union_box(first: np.ndarray, second: np.ndarray, spacing: np.ndarray) -> tuple[slice, slice, slice]:
    """Where either map says anything, with surroundings; one voxel when neither does."""
    box = bounding_box((first > 0) | (second >= 0.05), margin=np.ceil(FUSION_MARGIN_MM / spacing).astype(int))
    return box or (slice(0, 1),) * 3
