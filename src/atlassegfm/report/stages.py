"""Wall seconds and peak memory of each step that a run tells of."""

from __future__ import annotations

import time
from collections.abc import Callable

from atlassegfm.evaluation.memory import peak_mb, reset_peak


class StageMeter:
    """A progress callback that measures the steps and passes them on.

    Parameters
    ----------
    then : callable
        Told (step, finished fraction) in its turn.
    """

    def __init__(self, then: Callable[[str, float], None]) -> None:
        self.stages: dict[str, dict[str, float]] = {}
        self._then = then
        self._step: str | None = None
        self._began = 0.0

    def __call__(self, step: str, fraction: float) -> None:
        """`fraction` of `step` is done; another name than before ends the step before."""
        if step != self._step:
            self.close()
            self._step, self._began = step, time.perf_counter()
            reset_peak()
        self._then(step, fraction)

    def close(self) -> None:
        """End the present step; one that comes back is added to: ``{"seconds": sum, "peak_mb": largest}``."""
        if self._step is None:
            return
        stage = self.stages.setdefault(self._step, {"seconds": 0.0, "peak_mb": 0.0})
        stage["seconds"] = round(stage["seconds"] + time.perf_counter() - self._began, 3)
        stage["peak_mb"] = max(stage["peak_mb"], round(peak_mb(), 1))
        self._step = None
