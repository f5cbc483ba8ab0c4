"""What was learnt before in this process, found again by what it was learnt from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Learnt = TypeVar("Learnt")


class Recall(Generic[Learnt]):
    """A memory of limited size; what was not asked for longest is forgotten first.

    Parameters
    ----------
    most : int
        Things that are kept.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, Learnt] = OrderedDict()

    def of(self, key: Hashable, learn: Callable[[], Learnt]) -> Learnt:
        """What is known under `key`; it is learnt where nothing is. The key has to tell all that decides it."""
        if key not in self._kept:
            self._kept[key] = learn()
        self._kept.move_to_end(key)
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return self._kept[key]

    def __len__(self) -> int:
        return len(self._kept)
