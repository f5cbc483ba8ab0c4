"""The pipeline itself as a procedure: one run, three label maps."""

from __future__ import annotations

from typing import Any

from atlassegfm.evaluation.baselines.base import Job, Outcome
from atlassegfm.pipeline import segment

#: Steps of the pipeline that the warped atlas labels need, and those that only the fusion needs.
ATLAS_STEPS = ("registration", "warp labels")
FUSION_STEPS = ("fit fusion",)


def run_pipeline(job: Job) -> Outcome:
    """Run `atlassegfm.pipeline.segment`; the query's labels are no argument of it."""
    result = segment(job.atlas, job.query, device=job.device, seed=job.seed, **job.method.segment_options())
    maps = {"final": result.labels, "atlas": result.atlas_labels}
    if result.model_labels is not None:
        maps["model"] = result.model_labels
    steps = {name: float(s) for name, s in result.report.get("timings", {}).items()}
    return Outcome(maps, output_seconds(steps), {"steps": steps, "warnings": list(result.warnings)})


def output_seconds(steps: dict[str, float]) -> dict[str, float]:
    """Time to each label map from the time of the steps.

    The registration alone would stop after the warp, the model alone would not fit the fusion. Applying the fusion is
    timed together with the model and stays in both.
    """
    total = sum(v for k, v in steps.items() if k != "total")
    if not total:
        return {}
    atlas = sum(steps.get(k, 0.0) for k in ATLAS_STEPS)
    found: dict[str, Any] = {"final": total, "model": total - sum(steps.get(k, 0.0) for k in FUSION_STEPS)}
    return found | ({"atlas": atlas} if atlas else {})
