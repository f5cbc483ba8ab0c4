"""Who does the work of a cohort: processes of this machine, or workers of Dask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

from atlassegfm.cohort.fence import Fence
from atlassegfm.cohort.records import CaseRecord
from atlassegfm.cohort.settings import CohortSettings

if TYPE_CHECKING:
    from atlassegfm.cohort.runner import Work
    from atlassegfm.cohort.work import Case


class Engine(Protocol):
    """Has cases worked on."""

    def run(
        self, cases: Sequence[Case], on_step: Callable[[str, str], None], on_record: Callable[[CaseRecord], None]
    ) -> None:
        """Work on all cases; `on_step` is told name and step, `on_record` what came out, in order of completion."""


def make_engine(
    settings: CohortSettings, work: Work, fence: Fence, warn: Callable[[str], None]
) -> AbstractContextManager[Engine]:
    """The engine that `work` asks for."""
    if work.dask is not None:
        from atlassegfm.cohort.dask_engine import DaskEngine

        return DaskEngine(settings, work, fence, warn)
    from atlassegfm.cohort.pool import Pool

    return Pool(settings, jobs=work.jobs, timeout=work.timeout, threads=threads_each(work), start=work.start)


def threads_each(work: Work) -> int | None:
    """Threads of each worker, as asked for or the cores divided; None for a single one, which takes what there is."""
    from atlassegfm.runtime import available_cores

    return work.threads or (None if work.jobs == 1 else max(1, available_cores() // work.jobs))
