"""Run an evaluation: pairs times methods, resumed where it stopped, and its tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from atlassegfm.errors import AtlasSegError, InputError
from atlassegfm.evaluation.dataset import Dataset
from atlassegfm.evaluation.methods import Method
from atlassegfm.evaluation.protocol import Pair, Plan
from atlassegfm.evaluation.records import Record, content_key, record_path
from atlassegfm.evaluation.runs import Run, plan_runs
from atlassegfm.evaluation.schedule import Progress, run_tasks
from atlassegfm.evaluation.work import Task, without_done
from atlassegfm.runtime import resolve_device


@dataclass(frozen=True)
class Settings:
    """What an evaluation computes.

    Parameters
    ----------
    methods : tuple of Method
        What to run.
    labels : dict of int to str
        Labels to carry over and to judge.
    plan : Plan
        The pairs.
    seed : int
        Of everything random.
    tolerance_mm : float
        Of the surface Dice (NSD).
    device : str
        "auto", "cpu" or "cuda".
    reference : str
        Method that the paired tests compare with; the first if empty.
    """

    methods: tuple[Method, ...]
    labels: dict[int, str]
    plan: Plan
    seed: int = 0
    tolerance_mm: float = 2.0
    device: str = "auto"
    reference: str = ""

    def __post_init__(self) -> None:
        if not self.reference:
            object.__setattr__(self, "reference", self.methods[0].name)


@dataclass(frozen=True)
class Evaluation:
    """All records of an evaluation.

    Parameters
    ----------
    dataset : Dataset
        What was evaluated on.
    settings : Settings
        What was computed.
    runs : tuple of Run
        The runs that serve the methods.
    records : dict
        (pair, run label) to Record, one for each pair and run.
    resumed : int
        How many records were there from before.
    """

    dataset: Dataset
    settings: Settings
    runs: tuple[Run, ...]
    records: dict[tuple[Pair, str], Record] = field(default_factory=dict)
    resumed: int = 0


def run(
    dataset: Dataset,
    settings: Settings,
    folder: Path,
    *,
    jobs: int = 1,
    isolate: bool = True,
    progress: Progress | None = None,
    start: str | None = None,
) -> Evaluation:
    """Compute what is not there yet and return everything.

    Parameters
    ----------
    dataset, settings
        What to do.
    folder : Path
        Output folder; ``cases/`` in it holds one JSON file per pair and run, ``predictions/`` the label maps.
    jobs : int
        Pairs computed side by side; the cores are divided among them.
    isolate, progress, start
        See `atlassegfm.evaluation.schedule.run_tasks`.

    Raises
    ------
    InputError
        When the folder cannot be written, a number makes no sense or the device is not there. Failing cases raise
        nothing: they are counted.
    """
    if jobs < 1:
        raise InputError(f"--jobs: expected 1 or more, got {jobs}")
    settings = replace(settings, device=resolve_device(settings.device))
    runs = tuple(plan_runs(settings.methods))
    _make_folder(folder)
    tasks = _tasks(dataset, settings, runs, folder, jobs)
    missing = [left for left in (without_done(task) for task in tasks) if left.runs]
    asked = sum(len(task.runs) for task in tasks)
    todo = sum(len(task.runs) for task in missing)
    for task in missing:
        # A failure of an earlier session is tried again, and its old record must not pass for the new one.
        for _, _, path in task.runs:
            path.unlink(missing_ok=True)
    run_tasks(missing, jobs=jobs, isolate=isolate, progress=_counting(progress, len(tasks) - len(missing)), start=start)
    records = {}
    for task in tasks:
        for run_, key, path in task.runs:
            record = Record.read(path, key)
            if record is None:
                raise AtlasSegError(f"{path}: the record just written cannot be read back; is the disk full?")
            records[task.pair, run_.label] = record
    return Evaluation(dataset, settings, runs, records, asked - todo)


def _counting(progress: Progress | None, before: int) -> Progress | None:
    """Progress that counts the pairs of earlier sessions as done."""
    if progress is None:
        return None
    return lambda done, total, text: progress(done + before, total + before, text)


def _make_folder(folder: Path) -> None:
    try:
        (folder / "cases").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made a folder to write to ({error.strerror})") from error


def _tasks(dataset: Dataset, settings: Settings, runs: Sequence[Run], folder: Path, jobs: int) -> list[Task]:
    needed = _needed_cases(settings.plan.pairs, runs)
    digests = {case_id: dataset.case(case_id).digest() for case_id in sorted(needed)}
    threads = _threads(jobs)
    tasks = []
    for pair in settings.plan.pairs:
        entries = []
        for run_ in runs:
            key = content_key(run_, pair, digests, settings)
            entries.append((run_, key, record_path(folder, pair, run_, key)))
        used = [pair.atlas, pair.query, *pair.pool]
        cases = {i: dataset.case(i) for i in used if i in needed}
        tasks.append(
            Task(
                pair, cases, tuple(entries), settings.labels, folder,
                settings.seed, settings.tolerance_mm, threads, settings.device,
            )
        )  # fmt: skip
    return tasks


def _needed_cases(pairs: Sequence[Pair], runs: Sequence[Run]) -> set[str]:
    with_pool = any(r.method.uses_pool for r in runs)
    return {i for p in pairs for i in (p.atlas, p.query, *(p.pool if with_pool else ()))}


def _threads(jobs: int) -> int | None:
    from atlassegfm.runtime import available_cores

    return None if jobs == 1 else max(1, available_cores() // jobs)
