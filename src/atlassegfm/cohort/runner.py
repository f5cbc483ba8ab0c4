"""Run a cohort: what is not done yet in workers, everything summed up at the end."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from atlassegfm.cohort.engine import make_engine
from atlassegfm.cohort.fence import Fence, fenced
from atlassegfm.cohort.lock import locked
from atlassegfm.cohort.queries import Query
from atlassegfm.cohort.records import CaseRecord, still_holds
from atlassegfm.cohort.settings import CohortSettings, Keys
from atlassegfm.errors import AtlasSegError, InputError

if TYPE_CHECKING:
    from atlassegfm.cohort.engine_choice import DaskChoice
    from atlassegfm.cohort.live import LiveSummaries
    from atlassegfm.cohort.work import Case

#: Folder within the results for what the program keeps for itself.
STATE = ".cohort"


class Observer(Protocol):
    """Who is told how a cohort goes."""

    def planned(self, total: int, done: Sequence[CaseRecord], stale: bool) -> None:
        """So many queries, these done before; whether an earlier run was killed."""

    def step(self, name: str, step: str) -> None:
        """A query has come to a step."""

    def ended(self, record: CaseRecord) -> None:
        """A query has come to its end."""

    def warned(self, text: str) -> None:
        """Something that the user should know now, such as that there is no worker."""


@dataclass(frozen=True)
class Work:
    """How a cohort is computed; none of it changes a result.

    Parameters
    ----------
    jobs : int
        Workers; the cores are divided among them.
    timeout : float or None
        Seconds that one query may take.
    retry_failed : bool
        Whether queries that failed before are tried again.
    start : str or None
        Start method of processes.
    threads : int or None
        Of each worker; by default the cores are divided among them.
    dask : DaskChoice or None
        Workers of Dask; None are processes of this machine.
    part : str
        Name of a part of the cohort; parts may run at the same time in one folder, and each sums up what there is of
        all of them. Empty for the whole, which has the folder for itself.
    """

    jobs: int = 1
    timeout: float | None = None
    retry_failed: bool = False
    start: str | None = None
    threads: int | None = None
    dask: DaskChoice | None = None
    part: str = ""


@dataclass
class Cohort:
    """What came of a cohort.

    Parameters
    ----------
    folder : Path
        Of the results.
    queries : list of Query
        All of them, in order.
    records : dict of str to CaseRecord
        By name, as far as there are any.
    resumed : int
        How many were done before.
    interrupted : bool
        Whether somebody stopped it.
    running : bool
        Whether it goes on, so that there is more to come.
    part : bool
        Whether others may be doing other parts of it; records of theirs are summed up too.
    """

    folder: Path
    queries: list[Query]
    records: dict[str, CaseRecord] = field(default_factory=dict)
    resumed: int = 0
    interrupted: bool = False
    running: bool = True
    part: bool = False

    @property
    def state(self) -> str:
        """One of "running", "interrupted", "finished"; a run that was killed stays "running" until the next."""
        return "running" if self.running else "interrupted" if self.interrupted else "finished"

    @property
    def missing(self) -> list[str]:
        """Names of queries that have no record."""
        return [query.name for query in self.queries if query.name not in self.records]

    @property
    def total(self) -> int:
        """All queries, those of other parts among them."""
        return len(self.records) + len(self.missing)

    @property
    def ordered(self) -> list[CaseRecord]:
        """The records in the order of the queries; those of other parts follow by name."""
        names = [query.name for query in self.queries]
        names += sorted(set(self.records) - set(names))
        return [self.records[name] for name in names if name in self.records]


def run_cohort(
    queries: Sequence[Query], settings: CohortSettings, folder: Path, work: Work, observer: Observer
) -> Cohort:
    """Segment what is not done yet, and write table, JSON and page about everything.

    Ctrl-C and SIGTERM end it early: what is finished stays, what is under way is dropped, the summaries are written.

    Parameters
    ----------
    queries : sequence of Query
        With unique names.
    settings, work
        What is done and how.
    folder : Path
        An existing folder.
    observer : Observer
        Told what happens.

    Raises
    ------
    InputError
        If another run writes there, or the folder cannot be written.
    DiskFullError
        If the disk is full; running again goes on.
    """
    # Imported late, because what sums up knows this room.
    from atlassegfm.cohort.live import LiveSummaries

    state = folder / STATE
    _make(state / "records", state / "thumbnails")
    with _held(state, work.part) as (stale, fence), _terminated_like_interrupted():
        scratch = state / f"work{_ending(work.part)}"
        shutil.rmtree(scratch, ignore_errors=True)
        _make(scratch)
        cohort = Cohort(folder, list(queries), part=bool(work.part))
        summaries = LiveSummaries(cohort, settings)
        try:
            cases = _plan(cohort, settings, work, fence, scratch)
            observer.planned(len(cohort.queries), cohort.ordered, stale)
            summaries.update()
            if cases:
                _compute(cases, cohort, settings, work, observer, fence, summaries)
        except KeyboardInterrupt:
            cohort.interrupted = True
        except AtlasSegError:
            cohort.interrupted, cohort.running = True, False
            # The error counts more than a summary that cannot be written, as on a full disk.
            with contextlib.suppress(AtlasSegError):
                summaries.finish()
            raise
        # What lost workers have left half-written.
        shutil.rmtree(scratch, ignore_errors=True)
        cohort.running = False
        summaries.finish()
    return cohort


def _make(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another folder with -o") from error


@contextlib.contextmanager
def _held(state: Path, part: str) -> Iterator[tuple[bool, Fence]]:
    """The locks of the whole or of a part: whether a run before was killed, and the mark of this one."""
    with contextlib.ExitStack() as stack:
        if part:
            stack.enter_context(locked(state / "lock", shared=True))
        stale = stack.enter_context(locked(state / f"lock{_ending(part)}"))
        yield stale, stack.enter_context(fenced(state / f"run{_ending(part)}"))


def _ending(part: str) -> str:
    return f"-{part}" if part else ""


def _plan(cohort: Cohort, settings: CohortSettings, work: Work, fence: Fence, scratch: Path) -> list[Case]:
    """What is not done yet, after taking up the records of what is."""
    from atlassegfm.cohort.work import Case

    state, keys = cohort.folder / STATE, Keys(settings)
    cases = []
    for query in cohort.queries:
        key, record = keys.of(query), CaseRecord.read(_record_path(state, query.name))
        holds = record is not None and still_holds(record, query, key, cohort.folder)
        if holds and not (record.error and work.retry_failed):
            cohort.records[query.name] = record
        else:
            cases.append(Case(query, key, cohort.folder, state / "thumbnails", scratch, fence.path, fence.mark))
    cohort.resumed = len(cohort.records)
    for case in cases:
        _forget(cohort.folder, case.query.name)
    return cases


def _compute(
    cases: list[Case],
    cohort: Cohort,
    settings: CohortSettings,
    work: Work,
    observer: Observer,
    fence: Fence,
    summaries: LiveSummaries,
) -> None:
    def keep(record: CaseRecord) -> None:
        record.write(_record_path(cohort.folder / STATE, record.name))
        cohort.records[record.name] = record
        observer.ended(record)
        summaries.update()

    with make_engine(settings, work, fence, observer.warned) as engine:
        engine.run(cases, observer.step, keep)


def _forget(folder: Path, name: str) -> None:
    """Remove what an earlier run has written for a query: should it fail now, the old must not pass for the new."""
    path = _record_path(folder / STATE, name)
    record = CaseRecord.read(path)
    path.unlink(missing_ok=True)
    for file in () if record is None else record.outputs:
        if folder.resolve() in (folder / file).resolve().parents:
            (folder / file).unlink(missing_ok=True)


def _record_path(state: Path, name: str) -> Path:
    return state / "records" / f"{name}.json"


@contextlib.contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """SIGTERM, which cluster managers send before they kill, ends the run as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
