"""A model that needs no prompt, alone: what it finds in the query without an atlas to lead it, as vesselFM does."""

from __future__ import annotations

import time

import numpy as np

from atlassegfm.evaluation.baselines.base import Job, Outcome
from atlassegfm.models.registry import create_model, model_info
from atlassegfm.prompts import make_prompt
from atlassegfm.runtime import resolve_device
from atlassegfm.volume import Volume


def run_unprompted(job: Job) -> Outcome:
    """Take the model's one answer for the atlas's label with the lowest value; the other labels are not found.

    The model is prompted with the whole image, which says nothing.
    """
    start = time.perf_counter()
    grid, value = job.query.grid, job.atlas.values[0]
    kind = model_info(job.method.model).prompts[0]
    session = create_model(job.method.model, device=resolve_device(job.device), seed=job.seed)
    session.set_image(job.query)
    probability = session.segment(make_prompt(kind, np.ones(grid.shape, np.float32), grid, value))
    found = np.where(probability > 0.5, value, 0).astype(job.atlas.labels.data.dtype)
    final = Volume(found, grid, job.query.meta)
    return Outcome({"final": final}, {"final": time.perf_counter() - start})
