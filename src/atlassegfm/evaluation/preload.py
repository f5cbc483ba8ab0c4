"""Imported once by the fork server of `atlassegfm.evaluation.schedule`, so that no pair has to wait for torch."""

from atlassegfm.runtime import prepare_compute

prepare_compute()

import atlassegfm.evaluation.work  # noqa: E402
import atlassegfm.pipeline  # noqa: E402, F401
