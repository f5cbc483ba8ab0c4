"""Workers side by side: a query that crashes, is killed or takes too long costs its worker and nothing else."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any

from atlassegfm.cohort.records import CaseRecord
from atlassegfm.cohort.settings import CohortSettings
from atlassegfm.cohort.work import Case, DiskFullError, failed
from atlassegfm.cohort.worker import AHEAD, FULL, READY, RECORD, STEP, work
from atlassegfm.errors import AtlasSegError
from atlassegfm.processes import exit_reason, process_context, threads_in_environment

PRELOAD = "atlassegfm.cohort.preload"
#: Workers that end before their first query, one after the other: something is wrong with the machine, not a query.
MOST_FALSE_STARTS = 3
#: How often `stop` is asked, seconds.
ASK_EVERY = 1.0


@dataclass
class _Slot:
    """A worker, what it is doing, and what it reads meanwhile to do it next."""

    process: Any
    connection: Connection
    case: Case | None = None
    ahead: Case | None = None
    reading_ahead: bool = False
    ready: bool = False
    since: float = 0.0


class Pool:
    """Runs cases in workers, which live until the context ends.

    Parameters
    ----------
    settings : CohortSettings
        Sent to each worker once.
    jobs : int
        Workers.
    timeout : float or None
        Seconds that one query may take.
    threads : int or None
        Of each worker; None leaves them as they are.
    start : str, optional
        Start method of processes (see `process_context`).
    """

    #: Whether the next scan is read while one is computed; benchmarks compare.
    reads_ahead = True

    def __init__(
        self,
        settings: CohortSettings,
        *,
        jobs: int,
        timeout: float | None,
        threads: int | None,
        start: str | None = None,
    ) -> None:
        self._settings, self._jobs, self._timeout, self._threads = settings, jobs, timeout, threads
        self._context = process_context(start, PRELOAD)
        self._slots: list[_Slot] = []
        self._waiting: deque[Case] = deque()
        # Cases that had a part in the loss of a worker and nobody knows which: each gets one for itself.
        self._alone: set[str] = set()
        self._false_starts = 0

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def run(
        self,
        cases: Sequence[Case],
        on_step: Callable[[str, str], None],
        on_record: Callable[[CaseRecord], None],
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """Work on all cases; `on_step` is told name and step, `on_record` what came out, in order of completion.

        Parameters
        ----------
        cases, on_step, on_record
            See above.
        stop : callable, optional
            Asked every second; when it says so, everything is dropped.

        Raises
        ------
        DiskFullError
            If a worker finds no space left.
        AtlasSegError
            If no worker can be started.
        """
        self._waiting = deque(cases)
        with threads_in_environment(self._threads):
            while self._waiting or any(slot.case or slot.ahead for slot in self._slots):
                if stop is not None and stop():
                    self.close()
                    return
                self._fill()
                for event, case, value in self._events(stop is not None):
                    if event == STEP:
                        on_step(case.query.name, value)
                    else:
                        on_record(value)

    def _fill(self) -> None:
        """As many workers as there is work for; a case to each that waits."""
        busy = sum(slot.case is not None for slot in self._slots)
        expected = sum(slot.ahead is not None for slot in self._slots)
        for _ in range(min(self._jobs, busy + expected + len(self._waiting)) - len(self._slots)):
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=work, args=(theirs, self._settings, self._threads), daemon=False)
            process.start()
            theirs.close()
            self._slots.append(_Slot(process, ours))
        for slot in self._slots:
            case = self._next_for(slot) if slot.ready and slot.case is None else None
            if case is not None:
                self._give(slot, case)

    def _next_for(self, slot: _Slot) -> Case | None:
        """What it has read already, else the next one, else what another one has read and not begun."""
        if slot.ahead is not None:
            return slot.ahead
        if self._waiting:
            return self._waiting.popleft()
        for other in self._slots:
            if other.ahead is not None:
                case, other.ahead = other.ahead, None
                return case
        return None

    def _give(self, slot: _Slot, case: Case) -> None:
        slot.case, slot.ahead, slot.since = case, None, time.monotonic()
        # With no more cases than workers, each is better begun by a worker of its own than read ahead by another.
        spare = len(self._waiting) > sum(other.case is None for other in self._slots)
        if self.reads_ahead and spare and not {case.query.name, self._waiting[0].query.name} & self._alone:
            slot.ahead = self._waiting.popleft()
        try:
            slot.connection.send((case, slot.ahead))
        except OSError:
            # It has died while waiting; the cases are given to others.
            self._waiting.extendleft(c for c in (slot.ahead, slot.case) if c is not None)
            slot.case, slot.ahead, slot.ready = None, None, False

    def _events(self, asked: bool) -> list[tuple[str, Case | None, Any]]:
        """What the workers tell, after waiting for it; lost and late ones among them."""
        found = []
        ends = [slot.connection for slot in self._slots] + [slot.process.sentinel for slot in self._slots]
        happened = set(wait(ends, self._patience(asked)))
        for slot in list(self._slots):
            if slot.connection in happened or slot.process.sentinel in happened:
                found += self._hear(slot)
            if slot.case is not None and self._timeout and time.monotonic() - slot.since > self._timeout:
                found.append((RECORD, slot.case, self._late(slot)))
        return found

    def _patience(self, asked: bool) -> float | None:
        begun = [slot.since for slot in self._slots if slot.case is not None]
        found = [ASK_EVERY] if asked else []
        if self._timeout and begun:
            found.append(max(0.0, min(begun) + self._timeout - time.monotonic()) + 0.01)
        return min(found, default=None)

    def _hear(self, slot: _Slot) -> list[tuple[str, Case | None, Any]]:
        found = []
        try:
            while slot.connection.poll():
                event, value = slot.connection.recv()
                if event == FULL:
                    raise DiskFullError(value)
                if event == READY:
                    slot.ready, self._false_starts = True, 0
                elif event == AHEAD:
                    slot.reading_ahead = value
                else:
                    found.append((event, slot.case, value))
                if event == RECORD:
                    slot.case = None
            if not slot.process.is_alive() and not slot.connection.poll():
                # Dead without a closed connection: something it had started holds the other end.
                found += self._lost(slot)
        except (EOFError, ConnectionResetError):
            found += self._lost(slot)
        return found

    def _lost(self, slot: _Slot) -> list[tuple[str, Case | None, Any]]:
        """A worker has ended by itself."""
        slot.process.join()
        self._remove(slot)
        reason = exit_reason(slot.process.exitcode)
        if slot.case is None:
            self._false_starts += not slot.ready
            if self._false_starts >= MOST_FALSE_STARTS:
                raise AtlasSegError(f"workers end before they begin ({reason}); try fewer --jobs, and -v to see more")
            return []
        if slot.reading_ahead and slot.ahead is not None:
            # Computing the one or reading the other: both are tried again, each by itself.
            self._alone |= {slot.case.query.name, slot.ahead.query.name}
            self._waiting.appendleft(slot.case)
            return []
        text = f"its process was lost ({reason}); run with fewer --jobs if memory is short"
        return [(RECORD, slot.case, failed(slot.case, text, "lost", time.monotonic() - slot.since))]

    def _late(self, slot: _Slot) -> CaseRecord:
        slot.process.kill()
        slot.process.join()
        self._remove(slot)
        text = f"not finished after {self._timeout:g} s; allow more with --timeout, or crop or downsample the scan"
        return failed(slot.case, text, "timeout", time.monotonic() - slot.since)

    def _remove(self, slot: _Slot) -> None:
        slot.connection.close()
        self._slots.remove(slot)
        if slot.ahead is not None:
            self._waiting.appendleft(slot.ahead)

    def close(self) -> None:
        """End all workers: those that wait by a word, those that compute by force."""
        for slot in self._slots:
            try:
                if slot.case is not None or not slot.ready:
                    slot.process.kill()
                else:
                    slot.connection.send(None)
            except OSError:
                # It has ended by itself meanwhile.
                continue
        for slot in self._slots:
            slot.process.join(10)
            if slot.process.is_alive():
                slot.process.kill()
                slot.process.join()
            slot.connection.close()
        self._slots.clear()
