"""A worker: a process that segments one query after the other until it is told to stop."""

from __future__ import annotations

import signal
from multiprocessing.connection import Connection

from atlassegfm.cohort.settings import CohortSettings
from atlassegfm.processes import end_with_parent

#: What a worker tells: it waits for a query; a step has begun; here is the record; the disk is full.
READY, STEP, RECORD, FULL = "ready", "step", "record", "full"


def work(connection: Connection, settings: CohortSettings, threads: int | None) -> None:
    """Receive cases, send what comes of them; None or a closed connection is the end."""
    end_with_parent()
    # Ctrl-C on a terminal reaches the whole group; the runner decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Set by the runner for itself, and inherited by forked workers.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _prepare(threads)
    from atlassegfm.cohort.work import DiskFullError, execute

    connection.send((READY, None))
    while True:
        try:
            case = connection.recv()
        except EOFError:
            return
        if case is None:
            return
        try:
            record = execute(case, settings, lambda step: connection.send((STEP, step)))
        except DiskFullError as error:
            connection.send((FULL, str(error)))
            return
        connection.send((RECORD, record))


def _prepare(threads: int | None) -> None:
    from atlassegfm.runtime import prepare_compute

    prepare_compute(threads)
    if threads is not None:
        import torch

        # The environment comes too late where torch is there already, as in a process forked from one that has it.
        torch.set_num_threads(threads)
