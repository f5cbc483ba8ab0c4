"""Several atlases, each registered to the query, fused into one label map: what more labelled scans would give."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from atlassegfm.errors import RegistrationError
from atlassegfm.evaluation.baselines.base import Job, Outcome
from atlassegfm.evaluation.baselines.label_fusion import joint_label_fusion, majority_vote
from atlassegfm.registration.focus import Focus
from atlassegfm.registration.registry import register
from atlassegfm.registration.result import Settings
from atlassegfm.resampling import resample_image, warp_labels
from atlassegfm.runtime import resolve_device
from atlassegfm.volume import Volume

#: Atlases used at most, the pair's own first; more cost time and bring less and less.
MOST_ATLASES = 5


def run_joint_label_fusion(job: Job) -> Outcome:
    """Joint label fusion of the protocol's atlases (`label_fusion.joint_label_fusion`)."""
    return _fused(job, lambda images, labels: joint_label_fusion(job.query.data, images, labels))


def run_majority_vote(job: Job) -> Outcome:
    """Majority vote of the protocol's atlases."""
    return _fused(job, lambda images, labels: majority_vote(labels))


def _fused(job: Job, fuse: Callable[[Sequence[np.ndarray], Sequence[np.ndarray]], np.ndarray]) -> Outcome:
    start = time.perf_counter()
    images, labels, lost = _warped(job)
    final = Volume(fuse(images, labels), job.query.grid, job.query.meta)
    own = Volume(labels[0], job.query.grid, job.query.meta)
    seconds = {"final": time.perf_counter() - start}
    return Outcome({"final": final, "atlas": own}, seconds, {"atlases": len(labels), "atlases_lost": lost})


def _warped(job: Job) -> tuple[list[np.ndarray], list[np.ndarray], int]:
    """Images and labels of the atlases on the query's grid; one that cannot be registered is left out."""
    options = dict(job.method.registration_options)
    settings = Settings(seed=job.seed, device=resolve_device(job.device), options=options)
    images, labels, errors = [], [], []
    for atlas in job.pool()[: int(job.option("atlases", MOST_ATLASES))]:
        try:
            told = replace(settings, focus=Focus.of(atlas.labels))
            transform = register(job.query, atlas.image, job.method.registration, told).transform
        except RegistrationError as error:
            errors.append(error)
            continue
        images.append(resample_image(atlas.image, job.query.grid, transform).data)
        labels.append(warp_labels(atlas.labels, job.query.grid, transform).data)
    if not labels:
        raise RegistrationError(f"none of the {len(errors)} atlases could be registered: {errors[0]}")
    largest = np.result_type(*labels)
    return images, [m.astype(largest) for m in labels], len(errors)
