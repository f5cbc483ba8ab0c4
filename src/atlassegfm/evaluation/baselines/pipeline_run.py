"""The pipeline itself as a procedure: one run, three label maps."""

from __future__ import annotations

from typing import Any

from atlassegfm.evaluation.baselines.base import Job, Outcome
from atlassegfm.pipeline import segment
from atlassegfm.registration.cache import RegistrationCache

#: Steps of the pipeline that the warped atlas labels need, and those that only the fusion needs.
ATLAS_STEPS = ("registration", "warp")
FUSION_STEPS = ("fit fusion",)
#: Steps that each label map needs and that learn something.
LEARNING_STEPS = {
    "atlas": ("registration",),
    "model": ("registration", "reverse registration", "model"),
    "final": ("registration", "reverse registration", "model", "fusion"),
}


def run_pipeline(job: Job) -> Outcome:
    """Run `atlassegfm.pipeline.segment`; the query's labels are no argument of it.

    All methods of a pair share their registrations. The seconds that this saves are added to the step, so that no
    method looks faster than it is.
    """
    cache = job.shared.setdefault("registrations", RegistrationCache())
    options = job.method.segment_options()
    result = segment(job.atlas, job.query, device=job.device, seed=job.seed, cache=cache, **options)
    maps = {"final": result.labels, "atlas": result.atlas_labels}
    if result.model_labels is not None:
        maps["model"] = result.model_labels
    steps = {name: float(s) for name, s in result.report.get("timings", {}).items() if name != "total"}
    saved = result.report.get("seconds_saved", {})
    for step, seconds in saved.items():
        steps[step] = steps.get(step, 0.0) + seconds
    facts = {"steps": steps, "warnings": list(result.warnings), "registrations_reused": len(saved)}
    return Outcome(maps, output_seconds(steps), facts | learnt(result.report))


def output_seconds(steps: dict[str, float]) -> dict[str, float]:
    """Time to each label map from the time of the steps.

    The registration alone would stop after the warp, the model alone would not fit the fusion. Applying the fusion is
    timed together with the model and stays in both.
    """
    total = sum(steps.values())
    atlas = sum(steps.get(k, 0.0) for k in ATLAS_STEPS)
    model = total - sum(steps.get(k, 0.0) for k in FUSION_STEPS)
    return {"final": total, "model": model, "atlas": atlas} if total else {}


def learnt(report: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Per label map, how many parameters were learnt for it and how many trees were grown, all labels together.

    A step that says nothing of learnable parameters has none: a displacement field is found, not learnt.
    """
    fusions = report.get("fusion", {}).values()
    by_step = {
        **{step: report.get(step, {}).get("learnable_parameters") or 0 for step in LEARNING_STEPS["model"]},
        "fusion": sum(facts.get("learnable_parameters") or 0 for facts in fusions),
    }
    trees = report.get("model", {}).get("trees", 0)
    return {
        "learnable_parameters": {name: sum(by_step[s] for s in steps) for name, steps in LEARNING_STEPS.items()},
        "trees": {name: trees if "model" in steps else 0 for name, steps in LEARNING_STEPS.items()},
    }
