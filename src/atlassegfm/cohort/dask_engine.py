"""A cohort on workers of Dask: cases are sent, records come back, lost workers and schedulers are got over."""

from __future__ import annotations

import contextlib
import logging
import queue
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from atlassegfm.cohort.dask_cluster import Reached, reached
from atlassegfm.cohort.engine import threads_each
from atlassegfm.cohort.engine_choice import GPU
from atlassegfm.cohort.fence import Fence
from atlassegfm.cohort.queries import Query
from atlassegfm.cohort.records import CaseRecord
from atlassegfm.cohort.settings import CohortSettings
from atlassegfm.cohort.work import Case, failed
from atlassegfm.content import code_digest
from atlassegfm.errors import AtlasSegError

if TYPE_CHECKING:
    from distributed import Client, Future

    from atlassegfm.cohort.runner import Work

logger = logging.getLogger(__name__)
#: A scheduler is waited for so many seconds at the beginning, and when it is lost.
FIRST_PATIENCE, PATIENCE = 10.0, 300.0
#: After so many seconds without a worker for the cases, that is said.
SAY_AFTER = 20.0


class SchedulerLostError(AtlasSegError):
    """The connection to the scheduler has ended."""


class DaskEngine:
    """Sends cases to workers of Dask; use as a context manager.

    Parameters
    ----------
    settings : CohortSettings
        What is done.
    work : Work
        `dask` says where.
    fence : Fence
        Renewed whenever workers may be left that nobody listens to.
    warn : callable
        Told what the user should know.
    """

    def __init__(self, settings: CohortSettings, work: Work, fence: Fence, warn: Callable[[str], None]) -> None:
        self._settings, self._work, self._fence, self._warn = _absolute(settings), work, fence, warn
        self._stack = contextlib.ExitStack()
        self._cluster: Reached | None = None

    def __enter__(self) -> DaskEngine:
        cuda = self._settings.options.get("device") == "cuda"
        self._cluster = self._stack.enter_context(
            reached(self._work.dask, self._work.jobs, self._fence.path.parent.absolute(), cuda=cuda)
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(
        self, cases: Sequence[Case], on_step: Callable[[str, str], None], on_record: Callable[[CaseRecord], None]
    ) -> None:
        """Work on all cases; `on_step` is told name and step, `on_record` what came out, in order of completion.

        Raises
        ------
        AtlasSegError
            If the scheduler cannot be reached, or a worker cannot serve this run.
        """
        left = {case.query.name: case for case in cases}

        def keep(record: CaseRecord) -> None:
            del left[record.name]
            on_record(record)

        patience = FIRST_PATIENCE
        while left:
            with self._connected(patience) as client:
                try:
                    _Exchange(client, self._host_work(), self._fence, self._warn).run(
                        [_travelling(case, self._fence) for case in left.values()], on_step, keep
                    )
                except SchedulerLostError:
                    if self._cluster.own:
                        raise
                    self._warn("the connection to the Dask scheduler is lost; waiting for it")
                    # Whatever still computes for the lost one is not to write any more.
                    self._fence.renew()
                    patience = PATIENCE

    def _host_work(self) -> Any:  # noqa: ANN401 - HostWork, imported late
        from atlassegfm.cohort.dask_host import HostWork

        # Workers on this machine share its cores; others know theirs.
        threads = self._work.threads if self._work.dask.elsewhere else threads_each(self._work)
        topic = f"atlassegfm-{self._fence.mark}"
        return HostWork(self._settings, self._work.timeout, threads, code_digest(), topic)

    @contextlib.contextmanager
    def _connected(self, patience: float) -> Any:  # noqa: ANN401
        from distributed import Client
        from distributed.comm import get_address_host_port

        address, deadline = self._cluster.address, time.monotonic() + patience
        while True:
            try:
                if not self._cluster.own:
                    # A client that cannot connect complains when it is thrown away; a socket does not.
                    socket.create_connection(get_address_host_port(address), timeout=5).close()
                client = Client(address, security=self._cluster.security, timeout=5, set_as_default=False)
                break
            except (OSError, TimeoutError, ValueError) as error:
                if time.monotonic() > deadline or isinstance(error, ValueError):
                    raise AtlasSegError(
                        f"--dask-address {address}: no Dask scheduler can be reached there ({_line(error)}); check it, "
                        "and run the same command again, which goes on from here"
                    ) from error
                time.sleep(1)
        try:
            yield client
        finally:
            with _quiet():
                client.close(timeout=5)


class _Exchange:
    """One connection: everything that is sent over it and comes back."""

    def __init__(self, client: Client, work: Any, fence: Fence, warn: Callable[[str], None]) -> None:  # noqa: ANN401
        self._client, self._work, self._fence, self._warn = client, work, fence, warn
        # Steps and finished futures, as told by threads of the client.
        self._events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()

    def run(
        self, cases: list[Case], on_step: Callable[[str, str], None], on_record: Callable[[CaseRecord], None]
    ) -> None:
        from atlassegfm.cohort.dask_host import close_pools, run_case

        self._client.subscribe_topic(self._work.topic, lambda event: self._events.put(("step", event[1])))
        wanted = {GPU: 1} if self._work.settings.options.get("device") == "cuda" else None
        futures: dict[Future, Case] = {}
        for case in cases:
            key = f"{self._work.topic}-{case.query.name}"
            future = self._client.submit(run_case, case, self._work, key=key, pure=False, resources=wanted)
            futures[future] = case
            future.add_done_callback(lambda future: self._events.put(("done", future)))
        try:
            self._listen(futures, wanted, on_step, on_record)
            self._client.run(close_pools)
        except SchedulerLostError:
            raise
        except BaseException:
            # Ctrl-C, a full disk: workers find the mark gone within a second.
            with _quiet():
                self._client.cancel(list(futures))
            raise

    def _listen(
        self,
        futures: dict[Future, Case],
        wanted: dict[str, int] | None,
        on_step: Callable[[str, str], None],
        on_record: Callable[[CaseRecord], None],
    ) -> None:
        quiet_since, said = time.monotonic(), False
        running: set[str] = set()
        while futures:
            try:
                kind, value = self._events.get(timeout=1)
            except queue.Empty:
                if self._client.status != "running":
                    raise SchedulerLostError("the connection to the Dask scheduler is lost") from None
                if not said and not running and time.monotonic() - quiet_since > SAY_AFTER:
                    said = self._say_whether_workers(wanted)
                continue
            if kind == "step":
                name, step = value
                running.add(name)
                on_step(name, step)
            elif value in futures:
                record = self._record_of(value, futures[value])
                case = futures.pop(value)
                running.discard(case.query.name)
                on_record(record)
                value.release()

    def _record_of(self, future: Future, case: Case) -> CaseRecord:
        """What a finished future holds; what is wrong with workers or scheduler is raised."""
        from distributed import KilledWorker

        if future.status in ("cancelled", "lost"):
            raise SchedulerLostError("the connection to the Dask scheduler is lost")
        error = future.exception()
        if error is None:
            record = future.result()
            if record is None:
                raise SchedulerLostError("a worker has taken this run for one that is over")
            return record
        if isinstance(error, KilledWorker):
            text = "each Dask worker that had it was lost; look into the workers' logs, and give them more memory"
            return failed(case, text, "lost", 0.0)
        if isinstance(error, AtlasSegError):
            raise error
        raise AtlasSegError(
            f"a Dask worker cannot do the work ({type(error).__name__}: {_line(error)}); install the same atlassegfm "
            "on all machines"
        ) from error

    def _say_whether_workers(self, wanted: dict[str, int] | None) -> bool:
        workers = self._client.scheduler_info(n_workers=-1)["workers"].values()
        fitting = [w for w in workers if all(w["resources"].get(name, 0) >= n for name, n in (wanted or {}).items())]
        if not fitting:
            which = f"; those for --device cuda are started with --resources {GPU}=1" if wanted else ""
            self._warn(f"{len(workers)} Dask workers, none that can take a scan; waiting for one{which}")
        return not fitting


def _absolute(settings: CohortSettings) -> CohortSettings:
    """Without relative paths, which mean something else to workers."""
    names = settings.choices.get("names")
    choices = dict(settings.choices)
    if isinstance(names, str | Path) and Path(names).is_file():
        choices["names"] = str(Path(names).absolute())
    (atlas, labels), *more = ((image.absolute(), labels.absolute()) for image, labels in settings.atlases)
    return replace(settings, atlas=atlas, labels=labels, more_atlases=tuple(more), choices=choices)


def _travelling(case: Case, fence: Fence) -> Case:
    """A case as workers elsewhere can use it, under the mark that counts now."""
    query: Query = case.query
    own = {key: path.absolute() for key in ("atlas", "labels") if (path := getattr(query, key)) is not None}
    places = {key: getattr(case, key).absolute() for key in ("folder", "thumbnails", "scratch", "fence")}
    return replace(case, query=replace(query, path=query.path.absolute(), **own), mark=fence.mark, **places)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


@contextlib.contextmanager
def _quiet() -> Any:  # noqa: ANN401
    """What goes wrong while a connection is given up does not matter, but is logged."""
    try:
        yield
    except (OSError, TimeoutError, RuntimeError) as error:
        logger.debug("%s: %s", socket.gethostname(), error)
