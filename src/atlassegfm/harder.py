"""The fusion's harder lesson: a prior that errs more than the round trip's, the same for every query.

What the model answers to it is kept, so that further queries need not ask.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from atlassegfm import __version__
from atlassegfm.answers import Answered
from atlassegfm.fusion.base import Example
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.models.corruption import displaced_labels
from atlassegfm.models.lessons import usual_error
from atlassegfm.models.recall import Recall
from atlassegfm.models.store import Kind, Store, cache_folder, content_key

#: The round trip is optimistic: the synthetic prior errs by so many times as much (docs/decisions/0005-fusion.md).
OPTIMISM = 1.5
#: Tells the random displacement from others of the same seed.
STREAM = 2

#: A label's answer takes one to ten megabytes on disk; in memory at most 256 MB are kept.
ANSWERS: Kind[Answered] = Kind(".npz", Answered.read, Answered.write, Recall(256 << 20, lambda a: a.nbytes))


class Harder:
    """For each label a lesson whose prior errs more than the round trip's, but no more than its thickness bears.

    Parameters
    ----------
    session : SegmentationModel
        Customised if it can be.
    support : Support
        The atlas and the labels that came back from the query; nothing but the coarsely rounded size of their errors
        is used of the latter.
    seed : int
        Seed of the displacements.
    """

    def __init__(self, session: SegmentationModel, support: Support, seed: int) -> None:
        self._session, self._support, self._seed = session, support, seed
        # What need not hold in another process is kept in this one.
        self._store = Store(ANSWERS, cache_folder() if session.lasting else None)
        self._size = OPTIMISM * usual_error(support)
        # Labels of like thickness share one displacement.
        self._octaves = {v: min(0, int(np.floor(np.log2(most / self._size)))) for v, most in support.limits.items()}
        self._made: dict[int, Support] = {}

    @property
    def order(self) -> list[int]:
        """Labels with those beside each other that share a displacement."""
        return sorted(self._octaves, key=self._octaves.__getitem__)

    def example(self, value: int) -> Example:
        """The lesson of one label, with the model's answer."""
        key = self._key(value)
        found = None if key is None else self._store.find(key)
        if found is None:
            said = len(self._session.notices)
            found = Answered.of(self._session, self._lesson(self._octaves[value]), value)
            told = len(self._session.notices) > said  # a notice has to be told by every run
            # A model may have become another one on the way: a GPU that was too small.
            if not told and key is not None and key == self._key(value):
                self._store.keep(key, found)
        return found.example(self._support, value)

    def _key(self, value: int) -> str | None:
        who = self._session.identity(value)
        if who is None:
            return None
        told = [__version__, who, self._support.kind, self._size, self._seed, value]
        return content_key(self._support.digests, ["harder", *told])

    def _lesson(self, octave: int) -> Support:
        if octave not in self._made:
            rng = np.random.default_rng([self._seed, STREAM, -octave])
            priors = displaced_labels(self._support.truth, self._size * 2.0**octave, rng)
            self._made[octave] = replace(self._support, priors=priors, optimism=OPTIMISM)
        return self._made[octave]
