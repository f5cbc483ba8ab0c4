"""The network in memory: loaded once by a process, whatever the number of scans, labels and sessions."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from atlassegfm.models.recall import Recall

T = TypeVar("T")
#: Networks kept; the one that was not used for longest goes first. They take hundreds of MB each.
KEPT = 1

_networks: Recall[object] = Recall(KEPT)


def loaded(key: Hashable, build: Callable[[], T]) -> T:
    """What `build` makes, made once for each key as long as it is among the last `KEPT`.

    Parameters
    ----------
    key : hashable
        Names the model, the hash of its weights and all else that decides what is built.
    build : callable
        Loads the network.
    """
    found = _networks.find(key)
    if found is None:
        # Before the new one is there, so that not both are in memory.
        _networks.shrink(KEPT - 1)
        found = _networks.keep(key, build())
    return found  # type: ignore[return-value]


#: Let a network go; without a key all of them.
forget = _networks.forget
