"""A model alone, prompted from what somebody knows about the query: the loop that clicks and true masks share."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from atlassegfm.competition import LabelCompetition
from atlassegfm.evaluation.baselines.base import Job, Outcome
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.models.registry import create_model
from atlassegfm.runtime import resolve_device
from atlassegfm.volume import Volume

#: (session, label value) to the foreground probability on the query's grid, None when the label gets no prompt.
Answer = Callable[[SegmentationModel, int], "np.ndarray | None"]


def segment_prompted(job: Job, priors: Volume, kind: str, answer: Answer) -> Outcome:
    """Let the method's model answer for each label of the truth; labels compete by probability.

    Parameters
    ----------
    job : Job
        With the truth.
    priors : Volume
        Label map on the atlas's grid: for customisation, prompts on the atlas such as the query will get.
    kind : str
        Kind of prompt the model will be given.
    answer : callable
        Prompts the session for one label.
    """
    truth = job.needed_truth()
    start = time.perf_counter()
    session = create_model(job.method.model, device=resolve_device(job.device), seed=job.seed)
    if job.method.customise:
        session.customise(Support(job.atlas.image, job.atlas.labels, priors, kind))
    session.set_image(job.query)
    labels = LabelCompetition(job.query.grid.shape, job.atlas.labels.data.dtype)
    # Only labels of the atlas: a customised model knows no others, and no other method is asked for them.
    for value in job.atlas.values:
        if (truth.data == value).any():
            probability = answer(session, value)
            if probability is not None:
                labels.add(value, probability)
    final = Volume(labels.result(), job.query.grid, job.query.meta)
    return Outcome({"final": final}, {"final": time.perf_counter() - start})
