"""Run a cohort: what is not done yet in workers, everything summed up at the end."""

from __future__ import annotations

import contextlib
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from atlassegfm.cohort.lock import locked
from atlassegfm.cohort.queries import Query
from atlassegfm.cohort.records import CaseRecord, still_holds
from atlassegfm.cohort.settings import CohortSettings, Keys
from atlassegfm.errors import InputError

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
    """

    jobs: int = 1
    timeout: float | None = None
    retry_failed: bool = False
    start: str | None = None
    threads: int | None = None


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
    """

    folder: Path
    queries: list[Query]
    records: dict[str, CaseRecord] = field(default_factory=dict)
    resumed: int = 0
    interrupted: bool = False

    @property
    def ordered(self) -> list[CaseRecord]:
        """The records in the order of the queries."""
        return [self.records[query.name] for query in self.queries if query.name in self.records]


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
    from atlassegfm.cohort.summary import write_summaries

    state = folder / STATE
    _make(state / "records", state / "thumbnails")
    with locked(state / "lock") as stale, _terminated_like_interrupted():
        shutil.rmtree(state / "work", ignore_errors=True)
        _make(state / "work")
        cohort = Cohort(folder, list(queries))
        try:
            _run(cohort, settings, work, observer, stale)
        except KeyboardInterrupt:
            cohort.interrupted = True
        write_summaries(cohort, settings)
    return cohort


def _make(*folders: Path) -> None:
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{folder}: cannot be made ({error.strerror}); choose another folder with -o") from error


def _run(cohort: Cohort, settings: CohortSettings, work: Work, observer: Observer, stale: bool) -> None:
    from atlassegfm.cohort.pool import Pool
    from atlassegfm.cohort.work import Case

    state, keys = cohort.folder / STATE, Keys(settings)
    cases = []
    for query in cohort.queries:
        key, record = keys.of(query), CaseRecord.read(_record_path(state, query.name))
        holds = record is not None and still_holds(record, query, key, cohort.folder)
        if holds and not (record.error and work.retry_failed):
            cohort.records[query.name] = record
        else:
            cases.append(Case(query, key, cohort.folder, state))
    done = cohort.ordered
    cohort.resumed = len(done)
    observer.planned(len(cohort.queries), done, stale)
    for case in cases:
        _forget(cohort.folder, case.query.name)

    def keep(record: CaseRecord) -> None:
        record.write(_record_path(state, record.name))
        cohort.records[record.name] = record
        observer.ended(record)

    if cases:
        threads = work.threads or threads_each(work.jobs)
        pool = Pool(settings, jobs=work.jobs, timeout=work.timeout, threads=threads, start=work.start)
        pool.run(cases, observer.step, keep)


def _forget(folder: Path, name: str) -> None:
    """Remove what an earlier run has written for a query: should it fail now, the old must not pass for the new."""
    path = _record_path(folder / STATE, name)
    record = CaseRecord.read(path)
    path.unlink(missing_ok=True)
    for file in () if record is None else record.outputs:
        (folder / Path(file).name).unlink(missing_ok=True)


def _record_path(state: Path, name: str) -> Path:
    return state / "records" / f"{name}.json"


def threads_each(jobs: int) -> int | None:
    """Threads of each worker; None for a single one, which takes what there is."""
    from atlassegfm.runtime import available_cores

    return None if jobs == 1 else max(1, available_cores() // jobs)


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
