"""The pipeline itself as a procedure: one run, three label maps."""

from __future__ import annotations

from atlassegfm.evaluation.baselines.base import Job, Outcome
from atlassegfm.evaluation.baselines.shared import memory_of, remembering
from atlassegfm.pipeline import segment

#: Steps of the pipeline that the warped atlas labels need, and those that only the fusion needs.
ATLAS_STEPS = ("registration", "warp")
FUSION_STEPS = ("fit fusion",)


def run_pipeline(job: Job) -> Outcome:
    """Run `atlassegfm.pipeline.segment`; the query's labels are no argument of it."""
    memory = memory_of(job.shared)
    memory.reused.clear()
    with remembering(job.method.registration, memory):
        result = segment(job.atlas, job.query, device=job.device, seed=job.seed, **job.method.segment_options())
    maps = {"final": result.labels, "atlas": result.atlas_labels}
    if result.model_labels is not None:
        maps["model"] = result.model_labels
    steps = {name: float(s) for name, s in result.report.get("timings", {}).items() if name != "total"}
    for fixed, seconds in memory.reused:
        step = "registration" if fixed is job.query else "reverse registration"
        steps[step] = steps.get(step, 0.0) + seconds
    facts = {"steps": steps, "warnings": list(result.warnings), "registrations_reused": len(memory.reused)}
    return Outcome(maps, output_seconds(steps), facts)


def output_seconds(steps: dict[str, float]) -> dict[str, float]:
    """Time to each label map from the time of the steps.

    The registration alone would stop after the warp, the model alone would not fit the fusion. Applying the fusion is
    timed together with the model and stays in both.
    """
    total = sum(steps.values())
    atlas = sum(steps.get(k, 0.0) for k in ATLAS_STEPS)
    model = total - sum(steps.get(k, 0.0) for k in FUSION_STEPS)
    return {"final": total, "model": model, "atlas": atlas} if total else {}
