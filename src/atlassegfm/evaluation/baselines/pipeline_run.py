"""The pipeline itself as a procedure: one run, three label maps."""

from __future__ import annotations

from typing import Any

from atlassegfm.evaluation.baselines.base import Job, Outcome
from atlassegfm.pipeline import segment
from atlassegfm.registration.cache import RegistrationCache

#: The timed steps of the pipeline in their order.
STEPS = (
    *("registration", "warp", "reverse registration", "round trip"),
    *("customise", "fit fusion", "model and fusion", "quality"),
)
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
    atlas = job.pool() if job.method.uses_pool else job.atlas
    result = segment(atlas, job.query, device=job.device, seed=job.seed, cache=cache, **options)
    maps = {"final": result.labels, "atlas": result.atlas_labels}
    if result.model_labels is not None:
        maps["model"] = result.model_labels
    steps = {name: float(s) for name, s in result.report.get("timings", {}).items() if name != "total"}
    saved = result.report.get("seconds_saved", {})
    for step, seconds in saved.items():
        steps[step] = steps.get(step, 0.0) + seconds
    facts = {"steps": steps, "warnings": list(result.warnings), "registrations_reused": len(saved)}
    return Outcome(maps, output_seconds(steps), facts | learnt(result.report))


def needed_steps(steps: dict[str, float], output: str) -> dict[str, float]:
    """The steps, in their order, that a run would have made for this label map alone.

    The registration alone would stop after the warp, the model alone would not fit the fusion. Applying the fusion is
    timed together with the model and stays in both.
    """
    left_out = FUSION_STEPS if output == "model" else ()
    wanted = ATLAS_STEPS if output == "atlas" else [step for step in steps if step not in left_out]
    order = [*STEPS, *steps]
    return {step: steps[step] for step in sorted(wanted, key=order.index) if step in steps}


def output_seconds(steps: dict[str, float]) -> dict[str, float]:
    """Time to each label map from the time of the steps; empty where no step was timed."""
    return {name: sum(needed_steps(steps, name).values()) for name in LEARNING_STEPS} if steps else {}


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
