"""One query on its way through the pipeline: what was found so far, what each step took, and its registrations."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from atlassegfm.atlas import Atlas
from atlassegfm.prior import Prior
from atlassegfm.registration.cache import RegistrationCache
from atlassegfm.registration.focus import Focus
from atlassegfm.registration.result import Progress, RegistrationResult, Settings
from atlassegfm.runtime import give_back_freed_memory
from atlassegfm.volume import Volume


class Run:
    """One query against its atlas or atlases: the steps in order, each timed."""

    def __init__(self, query: Volume, options: dict[str, Any], progress: Progress, cache: RegistrationCache) -> None:
        self.query, self.options, self.progress, self.cache = query, options, progress, cache
        self.prior: Prior | None = None
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.facts: dict[str, Any] = {}
        self.probabilities: dict[int, tuple[tuple[slice, ...], np.ndarray]] | None = None
        self.masks: dict[int, tuple[tuple[slice, ...], np.ndarray]] | None = None
        self._last = time.perf_counter()

    def lap(self, step: str) -> None:
        """Book the time since the last step, and return what it has freed: the next needs other sizes."""
        give_back_freed_memory()
        now = time.perf_counter()
        self.seconds[step] = round(self.seconds.get(step, 0.0) + now - self._last, 3)
        self._last = now

    def registered(self, fixed: Volume, moving: Volume, step: str, atlas: Atlas) -> RegistrationResult:
        """One registration, its facts and warnings noted; `atlas` is the labelled one of the two images."""
        result = self.aligned(fixed, moving, step, atlas)
        self.facts[step] = result.metrics
        self.warnings += result.warnings
        return result

    def aligned(self, fixed: Volume, moving: Volume, step: str, atlas: Atlas, shown: str = "") -> RegistrationResult:
        """One registration; nothing is said of it but its time."""
        settings = Settings(
            seed=self.options["seed"],
            device=self.options["device"],
            progress=lambda name, fraction: self.progress(f"{shown or step}: {name}", fraction),
            options=self.options["registration_options"],
            focus=Focus.of(atlas.labels, on_fixed=fixed is atlas.image),
        )
        result, saved = self.cache.register(fixed, moving, self.options["registration"], settings)
        self.lap(step)
        if saved is not None:
            known = self.facts.setdefault("seconds_saved", {})
            known[step] = known.get(step, 0.0) + saved
        return result
