"""Where fusion learns: how model and prior err on the atlas, whose truth is known, label by label."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from atlassegfm.answers import Answered
from atlassegfm.fusion import fit_many
from atlassegfm.fusion.base import Fusion
from atlassegfm.harder import Harder
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.runtime import beside

#: Times that the model is asked for each label on the atlas.
LESSONS = 2
#: Labels whose lessons are in memory at once.
TURN = 16


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
    harder = Harder(session, support, seed)
    started, asked = {}, count()
    with beside() as start:
        # In turns: a model that looks at the atlas anew for other priors does so twice for many labels, not for each.
        for turn in _turns(harder.order):
            lessons = {}
            for value in turn:
                progress(next(asked) / (LESSONS * len(support.values)))
                lessons[value] = [Answered.of(session, support, value).example(support, value)]
            for value in turn:
                progress(next(asked) / (LESSONS * len(support.values)))
                started[value] = start(fit_many, kind, [*lessons.pop(value), harder.example(value)], seed)
        return {value: started[value].result() for value in support.values}


def _turns(values: list[int]) -> list[list[int]]:
    return [values[start : start + TURN] for start in range(0, len(values), TURN)]
