"""The work on one pair, in a process of its own: load, run, judge, write the records."""

from __future__ import annotations

import logging
import time
import traceback
from dataclasses import dataclass, field, replace
from pathlib import Path

from atlassegfm.atlas import Atlas, present_values
from atlassegfm.content import safe_name
from atlassegfm.errors import AtlasSegError, InputError
from atlassegfm.evaluation.baselines import PROCEDURES, Job, Outcome
from atlassegfm.evaluation.dataset import Case
from atlassegfm.evaluation.memory import peak_mb, reset_peak
from atlassegfm.evaluation.metrics import label_metrics
from atlassegfm.evaluation.protocol import Pair
from atlassegfm.evaluation.records import Output, Record
from atlassegfm.evaluation.runs import Run
from atlassegfm.io import read_image, read_labels, write_labels
from atlassegfm.volume import Volume

logger = logging.getLogger(__name__)

#: A label map lies on its image's grid when no corner is farther off than this part of the smallest voxel side.
SAME_GRID_FRACTION = 0.05


@dataclass(frozen=True)
class Task:
    """The runs still to do on one pair.

    Parameters
    ----------
    pair : Pair
        Atlas, query, and the pool of other atlases.
    cases : dict of str to Case
        Files of all cases the pair may need.
    runs : tuple of (Run, str, Path)
        Each with its content key and the file of its record.
    labels : dict of int to str
        Labels to carry over and to judge.
    folder : Path
        Output folder.
    seed, tolerance_mm, threads, device
        As given to `evaluate`.
    """

    pair: Pair
    cases: dict[str, Case]
    runs: tuple[tuple[Run, str, Path], ...]
    labels: dict[int, str]
    folder: Path
    seed: int = 0
    tolerance_mm: float = 2.0
    threads: int | None = None
    device: str = "auto"


@dataclass
class _Scans:
    """What a task reads; the truth only leaves this object for methods that are marked as seeing it."""

    atlas: Atlas
    query: Volume
    truth: Volume
    shared: dict = field(default_factory=dict)


def execute(task: Task) -> None:
    """Do all runs of a task and write one record each; a failing run becomes a record that says why."""
    _prepare(task.threads)
    try:
        scans = _load(task)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong with a case is a result to be counted
        for run, key, path in task.runs:
            failed_record(task, run, key, error).write(path)
        return
    for run, key, path in task.runs:
        try:
            record = _run(task, run, key, scans)
        except Exception as error:
            logger.debug("%s on %s -> %s", run.label, task.pair.atlas, task.pair.query, exc_info=True)
            record = failed_record(task, run, key, error)
        record.write(path)


def _prepare(threads: int | None) -> None:
    from atlassegfm.runtime import prepare_compute

    prepare_compute(threads)
    if threads is not None:
        import torch

        # The environment comes too late where torch is there already, as in a process forked from one that has it.
        torch.set_num_threads(threads)


def _load(task: Task) -> _Scans:
    case = task.cases[task.pair.query]
    query, truth = read_image(case.image), _read_truth(case)
    near = SAME_GRID_FRACTION * float(query.spacing.min())
    if not truth.grid.matches(query.grid, near):
        raise InputError(f"{case.labels}: not on the grid of its image; a case's image and label map have to share one")
    return _Scans(_load_atlas(task, task.pair.atlas), query, truth)


def _read_truth(case: Case) -> Volume:
    return read_labels(case.labels)


def _load_atlas(task: Task, case_id: str) -> Atlas:
    case = task.cases[case_id]
    wanted = [v for v in present_values(read_labels(case.labels).data) if v in task.labels]
    if not wanted:
        raise InputError(f"{case.labels}: holds none of the labels to evaluate ({', '.join(map(str, task.labels))})")
    return Atlas.load(case.image, case.labels, names=task.labels, only=wanted)


def _run(task: Task, run: Run, key: str, scans: _Scans) -> Record:
    job = Job(
        method=run.method,
        atlas=scans.atlas,
        query=scans.query,
        truth=scans.truth if run.method.sees_truth else None,
        pool=lambda: [scans.atlas, *(_load_atlas(task, i) for i in task.pair.pool if i != task.pair.atlas)],
        seed=task.seed,
        device=task.device,
        shared=scans.shared,
    )
    reset_peak()
    start = time.perf_counter()
    outcome = PROCEDURES[run.method.procedure](job)
    elapsed = time.perf_counter() - start
    peak = _honest_peak(run, outcome, peak_mb(), scans.shared)
    values = scored_labels(set(task.labels), scans.atlas.values, present_values(scans.truth.data))
    outputs = {
        name: Output(
            label_metrics(labels.data, scans.truth.data, values, scans.truth.spacing, task.tolerance_mm),
            outcome.seconds.get(name, elapsed),
            _write_prediction(task, run, name, outcome, scans),
        )
        for name, labels in outcome.maps.items()
    }
    return Record(key, task.pair.atlas, task.pair.query, run.label, "", outputs, peak, outcome.facts)


def _honest_peak(run: Run, outcome: Outcome, peak: float, shared: dict) -> float:
    """The run's peak; not below that of the run whose registration it used."""
    known = ("peak", run.method.alignment)
    if outcome.facts.get("registrations_reused"):
        peak = max(peak, shared.get(known, 0.0))
    shared[known] = max(peak, shared.get(known, 0.0))
    return peak


def scored_labels(wanted: set[int], in_atlas: list[int], in_truth: list[int]) -> list[int]:
    """Labels that say something about this pair: wanted ones that the atlas or the truth has.

    A label in neither was not asked for and can't be found; counting it as full agreement would flatter every method.
    """
    return sorted(wanted & (set(in_atlas) | set(in_truth)))


def _write_prediction(task: Task, run: Run, name: str, outcome: Outcome, scans: _Scans) -> str:
    methods = [method for method, output in run.serves if output == name]
    if not methods:
        return ""
    folder = task.folder / "predictions" / safe_name(methods[0])
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{safe_name(task.pair.query)}__from__{safe_name(task.pair.atlas)}.nii.gz"
    write_labels(path, outcome.maps[name], scans.query, task.labels)
    return path.relative_to(task.folder).as_posix()


def failed_record(task: Task, run: Run, key: str, error: BaseException | str) -> Record:
    """A record that counts as the worst result for every label, with the reason in one line.

    Overlap is 0 even where the truth lacks the label, distances are those of a lost label.
    """
    facts = {}
    if isinstance(error, BaseException) and not isinstance(error, AtlasSegError):
        facts["traceback"] = "".join(traceback.format_exception(error))
    text = error if isinstance(error, str) else str(error) or type(error).__name__
    if isinstance(error, BaseException) and not isinstance(error, AtlasSegError):
        text = f"{type(error).__name__}: {text}"
    outputs = {"failed": Output(_penalties(task), 0.0)}
    return Record(key, task.pair.atlas, task.pair.query, run.label, text.splitlines()[0][:500], outputs, 0.0, facts)


def _penalties(task: Task) -> dict[int, dict[str, float]]:
    nan = float("nan")
    worst = {"dice": 0.0, "nsd": 0.0, "hd95": nan, "assd": nan, "cldice": 0.0}
    worst |= {"volume_difference_ml": nan, "volume_difference_percent": nan}
    try:
        truth = read_labels(task.cases[task.pair.query].labels)
        atlas = present_values(read_labels(task.cases[task.pair.atlas].labels).data)
    except AtlasSegError:
        # Without the truth no distance can be said, but the overlap still counts.
        return {value: dict(worst) for value in task.labels}
    values = scored_labels(set(task.labels), atlas, present_values(truth.data))
    diagonal = float((truth.grid.extent_mm**2).sum() ** 0.5)
    found = label_metrics(truth.data * 0, truth.data, values, truth.spacing, task.tolerance_mm)
    overlap = {"dice": 0.0, "nsd": 0.0, "cldice": 0.0, "hd95": diagonal, "assd": diagonal}
    return {value: metrics | overlap for value, metrics in found.items()}


def without_done(task: Task) -> Task:
    """The task less the runs whose record is already written and did not fail."""
    open_runs = []
    for run, key, path in task.runs:
        record = Record.read(path, key)
        if record is None or record.error:
            open_runs.append((run, key, path))
    return replace(task, runs=tuple(open_runs))
