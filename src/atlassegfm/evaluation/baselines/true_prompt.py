"""Upper bound: the model prompted from the query's true label, as if registration were perfect."""

from __future__ import annotations

import numpy as np

from atlassegfm.evaluation.baselines.base import Job, Outcome
from atlassegfm.evaluation.baselines.prompted import segment_prompted
from atlassegfm.models.base import SegmentationModel, prompt_from_labels
from atlassegfm.models.registry import model_info


def run_true_prompt(job: Job) -> Outcome:
    """Prompt each label from the truth, with the method's kind of prompt ("auto": the model's preferred one)."""
    truth = job.needed_truth()
    kind = model_info(job.method.model).prompts[0] if job.method.prompt == "auto" else job.method.prompt

    def answer(session: SegmentationModel, value: int) -> np.ndarray | None:
        prompt = prompt_from_labels(truth, value, kind)
        return None if prompt is None else session.segment(prompt)

    return segment_prompted(job, job.atlas.labels, kind, answer)
