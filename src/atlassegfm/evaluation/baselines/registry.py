"""Procedures by name. The modules behind them are imported when they run: most of them need torch."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from atlassegfm.evaluation.baselines.base import Job, Outcome


def _late(module: str, function: str) -> Callable[[Job], Outcome]:
    def call(job: Job) -> Outcome:
        return getattr(import_module(f"atlassegfm.evaluation.baselines.{module}"), function)(job)

    call.__name__ = function
    return call


#: Name of a procedure (`Method.procedure`) to what carries it out.
PROCEDURES: dict[str, Callable[[Job], Outcome]] = {
    "pipeline": _late("pipeline_run", "run_pipeline"),
    "clicks": _late("clicks", "run_clicks"),
    "true-prompt": _late("true_prompt", "run_true_prompt"),
    "unprompted": _late("unprompted", "run_unprompted"),
    "in-context": _late("in_context", "run_in_context"),
}
