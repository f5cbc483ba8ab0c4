"""A worker: a process that segments one query after the other until it is told to stop."""

from __future__ import annotations

import signal
import threading
from multiprocessing.connection import Connection

from atlassegfm.cohort.settings import CohortSettings
from atlassegfm.processes import end_with_parent

#: What a worker tells: it waits for a query; a step has begun; whether it reads the next scan meanwhile; here is the
#: record; the disk is full.
READY, STEP, AHEAD, RECORD, FULL = "ready", "step", "ahead", "record", "full"


def work(connection: Connection, settings: CohortSettings, threads: int | None) -> None:
    """Receive (case, the one that is expected next or None), send what comes of it; None or a closed pipe is the end.

    What is expected is read while the case is computed.
    """
    end_with_parent()
    # Ctrl-C on a terminal reaches the whole group; the runner decides what becomes of its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Set by the runner for itself, and inherited by forked workers.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _prepare(threads)
    from atlassegfm.cohort.loading import Loader
    from atlassegfm.cohort.work import DiskFullError, execute

    turn = threading.Lock()

    def tell(event: str, value: object) -> None:
        # Two threads tell.
        with turn:
            connection.send((event, value))

    loader = Loader(lambda begun: tell(AHEAD, begun))
    tell(READY, None)
    while True:
        try:
            given = connection.recv()
        except EOFError:
            return
        if given is None:
            return
        case, ahead = given
        try:
            record = execute(
                case,
                settings,
                lambda step: tell(STEP, step),
                lambda query, ahead=ahead: loader.load(query, ahead and ahead.query),
            )
        except DiskFullError as error:
            tell(FULL, str(error))
            return
        tell(RECORD, record)


def _prepare(threads: int | None) -> None:
    from atlassegfm.runtime import prepare_compute

    prepare_compute(threads)
    if threads is not None:
        import torch

        # The environment comes too late where torch is there already, as in a process forked from one that has it.
        torch.set_num_threads(threads)
