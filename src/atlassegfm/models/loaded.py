"""The network in memory: loaded once by a process, whatever the number of scans, labels and sessions."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

T = TypeVar("T")
#: Networks kept; the one that was not used for longest goes first. They take hundreds of MB each.
KEPT = 1

_networks: OrderedDict[Hashable, object] = OrderedDict()


def loaded(key: Hashable, build: Callable[[], T]) -> T:
    """What `build` makes, made once for each key as long as it is among the last `KEPT`.

    Parameters
    ----------
    key : hashable
        Names the model, the hash of its weights and all else that decides what is built.
    build : callable
        Loads the network.
    """
    if key not in _networks:
        # Before the new one is there, so that not both are in memory.
        while len(_networks) >= KEPT:
            _networks.popitem(last=False)
        _networks[key] = build()
    _networks.move_to_end(key)
    return _networks[key]  # type: ignore[return-value]


def forget(key: Hashable | None = None) -> None:
    """Let a network go; without a key all of them."""
    if key is None:
        _networks.clear()
    else:
        _networks.pop(key, None)
