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
        How much is kept, in the unit of `weigh`.
    weigh : callable, optional
        What a thing takes of it; by default each counts one. A thing that takes more than all of it is not kept.
    """

    def __init__(self, most: int, weigh: Callable[[Learnt], int] = lambda thing: 1) -> None:
        self._most, self._weigh = most, weigh
        self._kept: OrderedDict[Hashable, Learnt] = OrderedDict()

    def of(self, key: Hashable, learn: Callable[[], Learnt]) -> Learnt:
        """What is known under `key`; it is learnt where nothing is. The key has to tell all that decides it."""
        found = self.find(key)
        return self.keep(key, learn()) if found is None else found

    def find(self, key: Hashable) -> Learnt | None:
        """What is known under `key`; None where nothing is."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def keep(self, key: Hashable, learnt: Learnt) -> Learnt:
        """Remember, and return what is remembered."""
        self._kept[key] = learnt
        self._kept.move_to_end(key)
        self.shrink(self._most)
        return learnt

    def shrink(self, most: int) -> None:
        """Forget until no more than `most` is left, before something large is learnt for example."""
        while self._kept and sum(map(self._weigh, self._kept.values())) > most:
            self._kept.popitem(last=False)

    def forget(self, key: Hashable | None = None) -> None:
        """Forget one thing, known or not; without a key all of them."""
        if key is None:
            self._kept.clear()
        else:
            self._kept.pop(key, None)

    def __len__(self) -> int:
        return len(self._kept)
