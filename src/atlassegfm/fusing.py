"""Where fusion learns: how model and prior err on the atlas, whose truth is known, label by label."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from atlassegfm.competition import favouring_dice
from atlassegfm.fusion import fit_many
from atlassegfm.fusion.base import Example, Fusion
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.models.corruption import displaced_labels
from atlassegfm.models.lessons import error_limits, usual_error
from atlassegfm.volume import bounding_box

#: Surroundings of both masks, in mm, within which fusion works.
FUSION_MARGIN_MM = 12.0
#: The round trip is optimistic: the synthetic prior errs by so many times as much (docs/decisions/0005-fusion.md).
OPTIMISM = 1.5
#: Times that the model is asked for each label on the atlas.
LESSONS = 2


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
    harder = {} if kind == "none" else _displaced(support, seed)
    fusions = {}
    for number, value in enumerate(support.values):
        progress(number / len(support.values))
        # A fusion that learns nothing needs no answers.
        lessons = (support, harder[value]) if harder else ()
        fusions[value] = fit_many(kind, [_example(session, lesson, value) for lesson in lessons], seed)
    return fusions


def _displaced(support: Support, seed: int) -> dict[int, Support]:
    """For each label a lesson whose prior errs more than the round trip's, but no more than its thickness bears."""
    limits = error_limits(support)
    size = OPTIMISM * usual_error(support, limits)
    made: dict[int, Support] = {}
    out = {}
    for value, limit in limits.items():
        # Labels of like thickness share one displacement.
        octave = min(0, int(np.floor(np.log2(limit / size))))
        if octave not in made:
            rng = np.random.default_rng([seed, LESSONS, -octave])
            priors = displaced_labels(support.truth, size * 2.0**octave, rng)
            made[octave] = replace(support, priors=priors)
        out[value] = made[octave]
    return out


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
