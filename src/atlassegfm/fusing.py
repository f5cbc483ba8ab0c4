"""Where fusion learns: how model and prior err on the atlas, whose truth is known, label by label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count

import numpy as np

from atlassegfm.competition import favouring_dice
from atlassegfm.fusion import fit_many
from atlassegfm.fusion.base import Example, Fusion
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.models.corruption import displaced_labels
from atlassegfm.models.lessons import usual_error
from atlassegfm.models.recall import Recall
from atlassegfm.runtime import beside
from atlassegfm.volume import bounding_box

#: Surroundings of both masks, in mm, within which fusion works.
FUSION_MARGIN_MM = 12.0
#: The round trip is optimistic: the synthetic prior errs by so many times as much (docs/decisions/0005-fusion.md).
OPTIMISM = 1.5
#: Times that the model is asked for each label on the atlas.
LESSONS = 2
#: Labels whose lessons are in memory at once.
TURN = 16
#: Bytes of lessons that are kept for further queries.
KEPT = 256 << 20

_recall: Recall[Example] = Recall(KEPT, lambda example: example.nbytes)


def fit_fusions(
    session: SegmentationModel,
    support: Support,
    kind: str,
    seed: int,
    progress: Callable[[float], None] = lambda done: None,
) -> dict[int, Fusion]:
    """One fusion per label, learnt from two imperfect priors: the round trip's and a random displacement.

    Parameters
    ----------
    session : SegmentationModel
        Customised if it can be.
    support : Support
        The atlas and the labels that came back from the query.
    kind : str
        A name out of `fusion.FUSIONS`.
    seed : int
        Seed of displacement and fusion.
    progress : callable, optional
        Told the finished fraction.

    Returns
    -------
    dict of int to Fusion
        By label value.
    """
    if kind == "none":
        # A fusion that learns nothing needs no answers.
        return {value: fit_many(kind, [], seed) for value in support.values}
    harder = _Harder(session, support, seed)
    started, asked = {}, count()
    with beside() as start:
        # In turns: a model that looks at the atlas anew for other priors does so twice for many labels, not for each.
        for turn in _turns(harder.order):
            lessons = {}
            for value in turn:
                progress(next(asked) / (LESSONS * len(support.values)))
                lessons[value] = [_example(session, support, value)]
            for value in turn:
                progress(next(asked) / (LESSONS * len(support.values)))
                started[value] = start(fit_many, kind, [*lessons.pop(value), harder.example(value)], seed)
        return {value: started[value].result() for value in support.values}


class _Harder:
    """For each label a lesson whose prior errs more than the round trip's, but no more than its thickness bears.

    Nothing of it comes from the query: what the model answered for one serves the next.
    """

    def __init__(self, session: SegmentationModel, support: Support, seed: int) -> None:
        self._session, self._support, self._seed = session, support, seed
        self._size = OPTIMISM * usual_error(support)
        # Labels of like thickness share one displacement.
        self._octaves = {v: min(0, int(np.floor(np.log2(limit / self._size)))) for v, limit in support.limits.items()}
        self._made: dict[int, Support] = {}
        self._known_by = (*support.digests, support.kind, self._size, seed)

    @property
    def order(self) -> list[int]:
        """Labels with those beside each other that share a displacement."""
        return sorted(self._octaves, key=self._octaves.__getitem__)

    def example(self, value: int) -> Example:
        """The lesson of one label, with the model's answer."""
        who = self._session.identity(value)
        key = (who, *self._known_by, value)
        found = _recall.find(key)
        if found is None:
            said = len(self._session.notices)
            found = _example(self._session, self._lesson(self._octaves[value]), value)
            told = len(self._session.notices) > said  # a notice has to be told by every run
            # A model may have become another one on the way: a GPU that was too small.
            if not told and who is not None and who == self._session.identity(value):
                _recall.keep(key, found)
        return found

    def _lesson(self, octave: int) -> Support:
        if octave not in self._made:
            rng = np.random.default_rng([self._seed, LESSONS, -octave])
            priors = displaced_labels(self._support.truth, self._size * 2.0**octave, rng)
            self._made[octave] = replace(self._support, priors=priors)
        return self._made[octave]


def _turns(values: list[int]) -> list[list[int]]:
    return [values[start : start + TURN] for start in range(0, len(values), TURN)]


def union_box(first: np.ndarray, second: np.ndarray, spacing: np.ndarray) -> tuple[slice, slice, slice]:
    """Where either map says anything, with surroundings; one voxel when neither does."""
    box = bounding_box((first > 0) | (second >= 0.05), margin=np.ceil(FUSION_MARGIN_MM / spacing).astype(int))
    return box or (slice(0, 1),) * 3


def _example(session: SegmentationModel, lesson: Support, value: int) -> Example:
    image, spacing = lesson.image, lesson.image.spacing
    mask = (lesson.priors.data == value).astype(np.float32)
    answer = favouring_dice(session.segment_support(lesson, value))
    truth = lesson.truth.data == value
    box = union_box(mask + truth, answer, spacing)
    return Example.checked(mask[box], answer[box], truth[box], image.data[box], spacing)
