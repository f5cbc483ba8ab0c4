"""Summaries that are kept up to date while a cohort runs, for those who look in on it."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from atlassegfm.cohort.records import read_records
from atlassegfm.cohort.runner import STATE
from atlassegfm.cohort.settings import CohortSettings
from atlassegfm.cohort.summary import write_summaries

if TYPE_CHECKING:
    from atlassegfm.cohort.runner import Cohort

#: Seconds between two writings at the least.
LEAST_PAUSE = 2.0
#: Writing may take this part of the time; a page of a thousand pictures is not for every case.
SHARE = 0.02


class LiveSummaries:
    """Writes table, JSON and page as often as is cheap, and at the end.

    Parameters
    ----------
    cohort : Cohort
        Looked at each time.
    settings : CohortSettings
        For the JSON.
    """

    def __init__(self, cohort: Cohort, settings: CohortSettings) -> None:
        self._cohort, self._settings, self._next = cohort, settings, 0.0

    def update(self) -> None:
        """Something is new; written when it is time."""
        if self._cohort.part:
            # Several would write by turns what each has; they sum up at their ends.
            return
        if time.monotonic() >= self._next:
            self.finish()

    def finish(self) -> None:
        """Write now.

        Raises
        ------
        InputError
            If it cannot be done.
        """
        start = time.monotonic()
        if self._cohort.part:
            self._cohort.records = read_records(self._cohort.folder / STATE / "records") | self._cohort.records
        write_summaries(self._cohort, self._settings)
        took = time.monotonic() - start
        self._next = start + took + max(LEAST_PAUSE, took / SHARE)
