"""What a worker of Dask does for a cohort: it lets a process of its own do it, as the local engine does.

A query that crashes, hangs or eats the memory costs that process and not the worker, and is recorded in the same words.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import util

from atlassegfm.cohort.pool import Pool
from atlassegfm.cohort.records import CaseRecord
from atlassegfm.cohort.settings import CohortSettings
from atlassegfm.cohort.work import Case
from atlassegfm.content import code_digest
from atlassegfm.errors import AtlasSegError
from atlassegfm.processes import threads_in_environment
from atlassegfm.runtime import available_cores


@dataclass(frozen=True)
class HostWork:
    """The same for all cases of a run.

    Parameters
    ----------
    settings : CohortSettings
        With absolute paths.
    timeout : float or None
        Seconds that one query may take.
    threads : int or None
        Of each case; None divides the worker's cores among its threads.
    code : str
        `content.code_digest` of the runner.
    topic : str
        Where steps are told.
    """

    settings: CohortSettings
    timeout: float | None
    threads: int | None
    code: str
    topic: str


#: Pools of one process that wait for a case, and what they were made for. A worker has several threads.
_idle: list[tuple[str, Pool]] = []
_turn = threading.Lock()
_state = {"prepared": False}


def run_case(case: Case, work: HostWork) -> CaseRecord | None:
    """Segment a query in a process beside this worker; None when the run is over.

    Raises
    ------
    AtlasSegError
        If this worker cannot serve the run: another version, or files that it does not see. Also a full disk.
    """
    from distributed import get_worker

    worker = get_worker()
    _check(case, work)
    records: list[CaseRecord] = []
    threads = work.threads or max(1, _cores() // max(1, worker.state.nthreads))
    with _pool(work, threads) as pool:
        pool.run(
            [case],
            lambda name, step: worker.log_event(work.topic, [name, step]),
            records.append,
            stop=lambda: not case.is_current,
        )
    return records[0] if records else None


def _cores() -> int:
    """Cores of this worker: those it may use, and no more than SLURM has given, which not every cluster enforces."""
    given = os.environ.get("SLURM_CPUS_PER_TASK", "")
    return min(available_cores(), int(given)) if given.isdecimal() else available_cores()


def close_pools() -> None:
    """End the processes that wait."""
    with _turn:
        pools, _idle[:] = list(_idle), []
    for _, pool in pools:
        pool.close()


def _check(case: Case, work: HostWork) -> None:
    host = socket.gethostname()
    if code_digest() != work.code:
        raise AtlasSegError(
            f"the Dask worker on {host} has another version of atlassegfm than this machine; install the same one"
        )
    if not case.is_current:
        raise AtlasSegError(
            f"the Dask worker on {host} does not see this run in {case.folder}; scans and results have to lie on a "
            "file system that all machines share"
        )


@contextmanager
def _pool(work: HostWork, threads: int) -> Iterator[Pool]:
    """A pool that nobody else uses; it is kept for the next case of the same run."""
    purpose = f"{work.topic} {threads}"
    with _turn:
        ready = next((entry for entry in _idle if entry[0] == purpose), None)
        if ready is not None:
            _idle.remove(ready)
    if ready is None:
        # Those of another run would only hold memory.
        close_pools()
        ready = purpose, Pool(work.settings, jobs=1, timeout=work.timeout, threads=threads)
        with _turn:
            _prepare_for_children(threads)
    try:
        yield ready[1]
    except BaseException:
        ready[1].close()
        raise
    with _turn:
        _idle.append(ready)


def _prepare_for_children(threads: int) -> None:
    """Let this process have children, and start the fork server that they come from; done once."""
    if _state["prepared"]:
        return
    _state["prepared"] = True
    process = multiprocessing.current_process()
    if process.daemon:
        # Dask's nanny starts workers as daemons, which may not have children; ours end by themselves with the worker.
        process.daemon = False
    # Before multiprocessing waits for its children, which it does when a worker ends in an orderly way.
    util.Finalize(None, close_pools, exitpriority=100)
    if "forkserver" in multiprocessing.get_all_start_methods():
        from multiprocessing import forkserver

        with _environment_of_ours(threads):
            forkserver.ensure_running()


@contextmanager
def _environment_of_ours(threads: int) -> Iterator[None]:
    """Without what nannies set for their workers: one OpenMP thread, and an allocator that gives everything back.

    Processes of the pool are workers of ours, which set both as they need them (see `runtime`).
    """
    import dask

    theirs = dask.config.get("distributed.nanny.pre-spawn-environ", {})
    before = {name: os.environ.pop(name) for name, value in theirs.items() if os.environ.get(name) == str(value)}
    try:
        with threads_in_environment(threads):
            yield
    finally:
        os.environ.update(before)
