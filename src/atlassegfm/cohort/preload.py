"""Imported once by the fork server of `atlassegfm.cohort.pool`, so that no worker has to wait for torch."""

from atlassegfm.runtime import prepare_compute

prepare_compute()

import atlassegfm.cohort.work  # noqa: E402
import atlassegfm.pipeline  # noqa: E402
import atlassegfm.report.qc  # noqa: E402, F401
