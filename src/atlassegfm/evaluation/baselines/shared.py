"""One registration for all methods of a pair that register in the same way.

While `remembering` is active, the registry's entry of the method points here. A registration of two images that was
done before comes back at once, together with the seconds it took, so that no method looks faster than it is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from atlassegfm.registration import registry
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.volume import Volume


@dataclass
class Memory:
    """What was registered, and which of it was used again since `reused` was last emptied.

    Parameters
    ----------
    results : dict
        By target, images and seed: the images themselves (which keeps them alive and their ids unique), the result, its
        seconds.
    reused : list of (Volume, float)
        The fixed image of each registration that was not computed again, and the seconds it had taken.
    """

    results: dict[tuple, tuple[Volume, Volume, RegistrationResult, float]] = field(default_factory=dict)
    reused: list[tuple[Volume, float]] = field(default_factory=list)


_active: list[tuple[Memory, str]] = []


@contextmanager
def remembering(method: str, memory: Memory) -> Iterator[None]:
    """Within the block, registrations by `method` are looked up in, and added to, the memory."""
    info = registry.METHODS.get(method)
    if info is None:  # the pipeline will say that there is no such method
        yield
        return
    registry.METHODS[method] = replace(info, target=f"{__name__}:recall")
    _active.append((memory, info.target))
    try:
        yield
    finally:
        _active.pop()
        registry.METHODS[method] = info


def recall(fixed: Volume, moving: Volume, settings: Settings) -> RegistrationResult:
    """The registration of these images, from the memory if it is there."""
    memory, target = _active[-1]
    key = (target, id(fixed), id(moving), settings.seed, settings.device)
    if key not in memory.results:
        start = time.perf_counter()
        module, function = target.split(":")
        result = getattr(import_module(module), function)(fixed, moving, settings)
        memory.results[key] = (fixed, moving, result, time.perf_counter() - start)
    else:
        memory.reused.append((fixed, memory.results[key][3]))
    return memory.results[key][2]


def memory_of(shared: dict[Any, Any]) -> Memory:
    """The memory of a pair."""
    return shared.setdefault("registrations", Memory())
