"""Registrations that were done before in this process, so that several runs on the same two images share them."""

from __future__ import annotations

import json
import time

from atlassegfm.registration.registry import register
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.volume import Volume


class RegistrationCache:
    """Finds a registration again by the content of its two images, the method and what it was told.

    It is filled by `register` alone and keeps transforms and facts, never an image; of a label map nothing but the box
    around the atlas's labels ever reaches it. What it holds lives as long as it does: make one per pair of scans.
    """

    def __init__(self) -> None:
        self._found: dict[str, tuple[RegistrationResult, float]] = {}

    def register(
        self, fixed: Volume, moving: Volume, method: str, settings: Settings
    ) -> tuple[RegistrationResult, float | None]:
        """As `registry.register`, computed once.

        Returns
        -------
        RegistrationResult
            The same object each time.
        float or None
            Seconds it had taken when it was found again; None when it was computed now.
        """
        key = _key(fixed, moving, method, settings)
        if key in self._found:
            return self._found[key]
        start = time.perf_counter()
        result = register(fixed, moving, method, settings)
        self._found[key] = result, time.perf_counter() - start
        return result, None


def _key(fixed: Volume, moving: Volume, method: str, settings: Settings) -> str:
    told = [fixed.digest(), moving.digest(), method, settings.seed, settings.device, dict(settings.options)]
    focus = settings.focus
    labels = focus.labels.digest() if focus is not None and focus.labels is not None else None
    return json.dumps([*told, repr(focus), labels], sort_keys=True, default=str)
