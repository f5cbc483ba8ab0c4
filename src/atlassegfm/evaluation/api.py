"""One call from a dataset folder to all tables: what `atlassegfm evaluate` does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlassegfm.errors import InputError
from atlassegfm.evaluation.availability import check_available
from atlassegfm.evaluation.dataset import Dataset
from atlassegfm.evaluation.environment import environment
from atlassegfm.evaluation.markdown import summary_markdown
from atlassegfm.evaluation.methods import DEFAULT_METHODS, PRESETS, Method
from atlassegfm.evaluation.protocol import plan
from atlassegfm.evaluation.runner import Evaluation, Settings, run
from atlassegfm.evaluation.schedule import Progress
from atlassegfm.evaluation.tables import rows, summary, write_csv
from atlassegfm.io import write_text_atomic


@dataclass(frozen=True)
class Request:
    """What to evaluate and how; the defaults are those of the command line.

    Parameters
    ----------
    dataset : pathlib.Path
        Folder with ``images/``, ``labels/`` and ``dataset.json``.
    folder : pathlib.Path
        Output folder.
    methods : sequence of Method
        What to run.
    reference : str
        Method that the tests compare with; the first if empty.
    labels : sequence of int, optional
        Label values; all of ``dataset.json`` if None.
    protocol, folds, atlas_ids, query_ids, limit
        See `atlassegfm.evaluation.protocol.plan`.
    seed, tolerance_mm, device, jobs
        See `atlassegfm.evaluation.runner`.
    command : str
        The command line, to be quoted in the summary.
    left_out : mapping of str to str
        Methods that were wanted but cannot run here, each with what it needs; named in every table.
    """

    dataset: Path
    folder: Path
    methods: Sequence[Method] = tuple(PRESETS[name] for name in DEFAULT_METHODS)
    reference: str = ""
    labels: Sequence[int] | None = None
    protocol: str = "folds"
    folds: int = 5
    atlas_ids: Sequence[str] | None = None
    query_ids: Sequence[str] | None = None
    limit: int | None = None
    seed: int = 0
    tolerance_mm: float = 2.0
    device: str = "auto"
    jobs: int = 1
    command: str = ""
    left_out: Mapping[str, str] = field(default_factory=dict)


def evaluate(request: Request, *, isolate: bool = True, progress: Progress | None = None) -> dict[str, Any]:
    """Run an evaluation and write ``results.csv``, ``summary.json``, ``summary.md`` and ``report.html``.

    Returns
    -------
    dict
        The content of ``summary.json``.

    Raises
    ------
    InputError
        For a dataset, an option or an output folder that cannot be used. Failing cases raise nothing.
    """
    dataset = Dataset.load(request.dataset)
    check_available(request.methods)
    if not (0 <= request.tolerance_mm < float("inf")):
        raise InputError(f"--tolerance-mm: expected 0 or more, got {request.tolerance_mm}")
    chosen = plan(
        dataset.ids,
        protocol=request.protocol,
        folds=request.folds,
        seed=request.seed,
        atlas_ids=request.atlas_ids,
        query_ids=request.query_ids,
        limit=request.limit,
    )
    settings = Settings(
        tuple(request.methods),
        dataset.chosen_labels(request.labels),
        chosen,
        request.seed,
        request.tolerance_mm,
        request.device,
        request.reference,
    )
    done = run(dataset, settings, request.folder, jobs=request.jobs, isolate=isolate, progress=progress)
    return write_tables(done, request)


def write_tables(done: Evaluation, request: Request) -> dict[str, Any]:
    """Write all tables of an evaluation; returns the content of ``summary.json``."""
    from atlassegfm.report.html import write_report

    found = summary(done, environment(request.jobs, request.command)) | {"left_out": dict(request.left_out)}
    table = rows(done)
    write_csv(request.folder / "results.csv", table)
    write_text_atomic(request.folder / "summary.json", json.dumps(found, indent=1) + "\n")
    write_text_atomic(request.folder / "summary.md", summary_markdown(found))
    write_report(request.folder / "report.html", done, table, found)
    return found
