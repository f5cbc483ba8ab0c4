"""From records to rows (``results.csv``) and from rows to numbers per method (``summary.json``)."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atlassegfm.evaluation.metrics import METRICS
from atlassegfm.evaluation.records import Record
from atlassegfm.evaluation.runner import Evaluation, Settings
from atlassegfm.evaluation.statistics import summarise
from atlassegfm.io import write_text_atomic

#: Columns of results.csv; the metrics stand between the label and the cost.
COLUMNS = ("fold", "atlas", "query", "method", "label", *METRICS, "seconds", "peak_mb", "status")


@dataclass(frozen=True)
class Row:
    """One label of one query by one method.

    `seconds` and `peak_mb` are those of the whole pair, repeated for each label. `seconds` is the time to this method's
    label map; `peak_mb` is that of the run it came from. `status` is "ok" or "failed".
    """

    fold: int
    atlas: str
    query: str
    method: str
    label: int
    metrics: dict[str, float]
    seconds: float
    peak_mb: float
    status: str


def rows(evaluation: Evaluation) -> list[Row]:
    """All rows, by method in the order given, then by fold, atlas, query and label."""
    found = []
    for method in evaluation.settings.methods:
        run, output = _source(evaluation, method.name)
        for pair in evaluation.settings.plan.pairs:
            record = evaluation.records[pair, run.label]
            judged = record.output(output)
            status = "failed" if record.error else "ok"
            for label, metrics in judged.labels.items():
                found.append(
                    Row(
                        pair.fold, pair.atlas, pair.query, method.name, label, metrics,
                        judged.seconds, record.peak_mb, status,
                    )
                )  # fmt: skip
    return found


def _source(evaluation: Evaluation, method: str) -> tuple[Any, str]:
    for run in evaluation.runs:
        for name, output in run.serves:
            if name == method:
                return run, output
    raise KeyError(method)


def write_csv(path: Path, table: Sequence[Row]) -> None:
    """Write ``results.csv``; a metric without a value is an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in table:
        metrics = [_cell(row.metrics[name], 6) for name in METRICS]
        cost = [_cell(row.seconds, 3), _cell(row.peak_mb, 1)]
        writer.writerow([row.fold, row.atlas, row.query, row.method, row.label, *metrics, *cost, row.status])
    write_text_atomic(path, text.getvalue())


def _cell(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"


def failures(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Every failed pair of every method, with its reason."""
    found = []
    for method in evaluation.settings.methods:
        run, _ = _source(evaluation, method.name)
        for pair in evaluation.settings.plan.pairs:
            record: Record = evaluation.records[pair, run.label]
            if record.error:
                place = {"fold": pair.fold, "atlas": pair.atlas, "query": pair.query}
                found.append({"method": method.name, **place, "error": record.error})
    return found


def case_values(table: Iterable[Row], metric: str, label: int | None = None) -> dict[str, dict[tuple, float]]:
    """Method to (atlas, query) to value: of one label, or the mean over the labels of the case."""
    collected: dict[str, dict[tuple, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in table:
        if label is None or row.label == label:
            collected[row.method][row.atlas, row.query].append(row.metrics[metric])
    return {m: {case: _mean(v) for case, v in cases.items()} for m, cases in collected.items()}


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known)) if known else math.nan


def statistics_of(
    table: Sequence[Row], methods: Sequence[str], metric: str, settings: Settings, label: int | None = None
) -> dict[str, dict]:
    """Summary of one metric for each method; the paired test is against the reference."""
    values = case_values(table, metric, label)
    reference = values.get(settings.reference, {})
    found = {}
    for method in methods:
        cases = values.get(method, {})
        paired = [reference.get(case, math.nan) for case in cases]
        compared = None if method == settings.reference else paired
        found[method] = summarise(list(cases.values()), settings.seed, compared).to_json()
    return found


def summary(evaluation: Evaluation, environment: dict[str, Any]) -> dict[str, Any]:
    """Everything that ``summary.json`` holds; numbers of cases are means over labels first, then over cases."""
    settings, table = evaluation.settings, rows(evaluation)
    methods = [m.name for m in settings.methods]
    scored = sorted({row.label for row in table})
    dataset = evaluation.dataset
    return {
        "dataset": {
            "name": dataset.name,
            "modality": dataset.modality,
            "licence": dataset.licence,
            "cases": len(dataset.cases),
        },
        "protocol": {
            "description": settings.plan.description,
            "pairs": [[p.fold, p.atlas, p.query] for p in settings.plan.pairs],
            "seed": settings.seed,
            "tolerance_mm": settings.tolerance_mm,
            "notices": list(settings.plan.notices),
        },
        "labels": {str(v): name for v, name in settings.labels.items()},
        "labels_not_scored": [v for v in settings.labels if v not in scored],
        "reference": settings.reference,
        "methods": {m.name: m.run_settings() | {"sees_truth": m.sees_truth} for m in settings.methods},
        "overall": _by_method(methods, {k: statistics_of(table, methods, k, settings) for k in METRICS}),
        "per_label": {
            str(v): _by_method(methods, {k: statistics_of(table, methods, k, settings, v) for k in METRICS})
            for v in scored
        },
        "cost": {name: _cost(evaluation, table, name) for name in methods},
        "failures": failures(evaluation),
        "environment": environment,
    }


def _by_method(methods: Sequence[str], by_metric: dict[str, dict[str, dict]]) -> dict[str, dict[str, dict]]:
    return {m: {metric: found[m] for metric, found in by_metric.items()} for m in methods}


def _cost(evaluation: Evaluation, table: Sequence[Row], method: str) -> dict[str, Any]:
    """Seconds, memory and learnt parameters per pair, seconds per step of the run; failed pairs left out."""
    pairs = {(r.atlas, r.query): r for r in table if r.method == method and r.status == "ok"}
    seconds = [r.seconds for r in pairs.values()]
    if not seconds:
        return {"pairs": 0, "seconds_mean": None, "seconds_median": None, "seconds_max": None, "peak_mb_max": None}
    return {
        "pairs": len(seconds),
        "seconds_mean": float(np.mean(seconds)),
        "seconds_median": float(np.median(seconds)),
        "seconds_max": max(seconds),
        "peak_mb_max": max(r.peak_mb for r in pairs.values()),
        "learnable_parameters": _most(evaluation, method, "learnable_parameters"),
        "trees": _most(evaluation, method, "trees"),
        "steps": _steps(evaluation, method),
    }


def _most(evaluation: Evaluation, method: str, fact: str) -> int | None:
    """The largest of a fact that runs tell per label map, over the pairs; None where they do not tell it."""
    run, output = _source(evaluation, method)
    facts = [evaluation.records[pair, run.label].facts.get(fact, {}) for pair in evaluation.settings.plan.pairs]
    return max((found[output] for found in facts if output in found), default=None)


def _steps(evaluation: Evaluation, method: str) -> dict[str, float]:
    """Mean seconds of the steps that a method needs, of the run that serves it, over the pairs that have them."""
    from atlassegfm.evaluation.baselines.pipeline_run import needed_steps

    run, output = _source(evaluation, method)
    collected: dict[str, list[float]] = defaultdict(list)
    for pair in evaluation.settings.plan.pairs:
        for step, seconds in evaluation.records[pair, run.label].facts.get("steps", {}).items():
            collected[step].append(seconds)
    return needed_steps({step: float(np.mean(values)) for step, values in collected.items()}, output)
