"""Steps 3 and 4 on the query, label by label: while the model is asked about one, others are fused and judged."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping

import numpy as np

from atlassegfm.answers import Answered
from atlassegfm.atlases.judges import Judges
from atlassegfm.competition import LabelCompetition, favouring_dice
from atlassegfm.fusion.base import Fusion
from atlassegfm.models.base import SegmentationModel, prompt_from_labels
from atlassegfm.prior import Prior
from atlassegfm.run import Run
from atlassegfm.runtime import beside
from atlassegfm.volume import Volume

#: Labels that the model has been asked about and that are not finished; they are in memory.
AHEAD = 4


def label_by_label(
    run: Run, session: SegmentationModel, fusions: Mapping[int, Fusion], judge_label: Judges
) -> tuple[Volume, Volume]:
    """The fused labels and the model's own, each after the labels have competed for voxels.

    Parameters
    ----------
    run : Run
        The query with its prior; probabilities and masks are kept there if it asks for them, warnings are added.
    session : SegmentationModel
        Customised if it can be.
    fusions : mapping of int to Fusion
        By label value; a label without one was not taught, and is what the atlases say.
    judge_label : Judges
        Told of each label.
    """
    grid, dtype = run.query.grid, run.prior.labels.data.dtype
    final, alone = (LabelCompetition(grid.shape, dtype) for _ in range(2))
    session.set_image(run.query)
    names, waiting = run.prior.names, deque()

    def enter() -> None:
        value, asked, fused = waiting.popleft()
        _enter(run, value, asked, fused.result(), final, alone)

    with beside() as start:
        for number, value in enumerate(_largest_first(run.prior)):
            run.progress(f"model and fusion: {names[value]}", number / len(names))
            asked = _asked(run, session, value, value in fusions)
            if asked is None:
                run.warnings.append(judge_label.missing(value))
                continue
            waiting.append((value, asked, start(_fused, run, value, asked, fusions.get(value), judge_label)))
            while len(waiting) > AHEAD:
                enter()
        while waiting:
            enter()
    run.probabilities, run.masks = (kept and dict(sorted(kept.items())) for kept in (run.probabilities, run.masks))
    return Volume(final.result(), grid), Volume(alone.result(), grid)


def _largest_first(prior: Prior) -> list[int]:
    """The labels, those with most voxels first: what takes longest must not be left for the end."""
    counts = np.bincount(prior.labels.data.ravel(), minlength=max(prior.names) + 1)
    return sorted(prior.names, key=lambda value: -counts[value])


def _asked(run: Run, session: SegmentationModel, value: int, taught: bool) -> Answered | None:
    """What the model says of one label; None if the prior lost it."""
    prompt = prompt_from_labels(run.prior.labels, value, run.options["prompt"])
    if prompt is None:
        return None
    answer = favouring_dice(session.segment(prompt)) if taught else prompt.mask
    return Answered.around(prompt.mask, answer, run.query.spacing)


def _fused(run: Run, value: int, asked: Answered, fusion: Fusion | None, judge_label: Judges) -> np.ndarray:
    """Prior and answer fused and judged."""
    fused, box = asked.answer, asked.box
    if fusion is not None:
        shown = run.prior.shown(value, box)
        fused = fusion.apply(asked.prior, asked.answer, run.query.data[box], run.query.spacing, shown)
    judge_label(value, box, fused, asked.prior, asked.answer)
    return fused


def _enter(
    run: Run, value: int, asked: Answered, fused: np.ndarray, final: LabelCompetition, alone: LabelCompetition
) -> None:
    """Let a label compete, and keep of it what the run asks for."""
    alone.add(value, asked.answer, asked.box)
    final.add(value, fused, asked.box)
    if run.probabilities is not None:
        run.probabilities[value] = asked.box, fused
    if run.masks is not None:
        run.masks[value] = asked.box, fused > 0.5
