"""Slice-wise in-context segmentation: models such as UniverSeg and Tyche that learn a task from example slices.

A slice model sees a target slice and a support set of slices with masks. Here the support set is taken from the one
atlas: for each query slice the atlas slices nearest to the same relative height. Nothing is registered; that is what
these methods are, and why they are a baseline.
"""

from __future__ import annotations

import time

import numpy as np
from skimage.transform import resize

from atlassegfm.errors import ModelError
from atlassegfm.evaluation.baselines.base import Job, Outcome
from atlassegfm.evaluation.baselines.slice_models import SLICE_MODELS, SliceModel
from atlassegfm.models.preparation import Oriented
from atlassegfm.runtime import resolve_device

#: Query slices predicted at a time.
BATCH = 8
#: Intensities outside these percentiles are clipped before they are scaled to [0, 1].
PERCENTILES = (0.5, 99.5)


def run_in_context(job: Job) -> Outcome:
    """Segment every label of the atlas slice by slice; labels compete by probability."""
    if job.method.model not in SLICE_MODELS:
        raise ModelError(f"no in-context model {job.method.model!r}; expected one of {', '.join(SLICE_MODELS)}")
    model = SLICE_MODELS[job.method.model].load(resolve_device(job.device), job.seed)
    start = time.perf_counter()
    # Axes in the order nearest to right, anterior, superior: the slices are axial.
    ours, theirs = Oriented(job.query.grid, "RAS"), Oriented(job.atlas.image.grid, "RAS")
    query, atlas, labels = (
        ours.array(job.query.data),
        theirs.array(job.atlas.image.data),
        theirs.array(job.atlas.labels.data),
    )
    nearest = support_slices(query.shape[2], atlas.shape[2], model.support)
    targets, examples = _squares(_scaled(query), model.size), _squares(_scaled(atlas), model.size)
    best = np.full(query.shape, 0.5, np.float32)
    found = np.zeros(query.shape, job.atlas.labels.data.dtype)
    for value in job.atlas.values:
        masks = _squares((labels == value).astype(np.float32), model.size)
        probability = _predict(model, targets, examples, masks, nearest)
        full = resize(np.moveaxis(probability, 0, 2), query.shape, order=1, anti_aliasing=False)
        better = full > best
        found[better], best[better] = value, full[better]
    final = job.query.with_data(ours.back(found))
    return Outcome({"final": final}, {"final": time.perf_counter() - start})


def support_slices(n_query: int, n_atlas: int, support: int) -> np.ndarray:
    """Indices (n_query, support) of the atlas slices nearest to each query slice's relative height."""
    height = (np.arange(n_query) + 0.5) / n_query
    gap = np.abs(height[:, None] - (np.arange(n_atlas) + 0.5) / n_atlas)
    order = np.argsort(gap, axis=1, kind="stable")[:, :support]
    # A short atlas repeats its slices: the models want a fixed number.
    return order[:, np.arange(support) % order.shape[1]]


def _predict(
    model: SliceModel, targets: np.ndarray, examples: np.ndarray, masks: np.ndarray, nearest: np.ndarray
) -> np.ndarray:
    parts = []
    for start in range(0, len(targets), BATCH):
        chosen = nearest[start : start + BATCH]
        parts.append(model.predict(targets[start : start + BATCH], examples[chosen], masks[chosen]))
    return np.concatenate(parts)


def _scaled(data: np.ndarray) -> np.ndarray:
    low, high = np.percentile(data, PERCENTILES)
    return np.clip((data - low) / max(high - low, 1e-6), 0, 1).astype(np.float32)


def _squares(data: np.ndarray, size: int) -> np.ndarray:
    """Slices along the third axis, each resized to a square: (n, size, size)."""
    shape = (size, size, data.shape[2])
    return np.moveaxis(resize(data, shape, order=1, anti_aliasing=size < data.shape[0]).astype(np.float32), 2, 0)
