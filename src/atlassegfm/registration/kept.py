"""Things made of an image, kept as long as the image lives."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from atlassegfm.volume import Volume

Thing = TypeVar("Thing")


class Kept(Generic[Thing]):
    """A memory by image and key; who changes an image in place, or a thing, gets the old one back."""

    def __init__(self) -> None:
        #: By the identity of the image: a reference that tells when it is gone, and what was made of it.
        self._known: dict[int, tuple[weakref.ref[Volume], dict[Hashable, Thing]]] = {}

    def of(self, image: Volume, key: Hashable, make: Callable[[], Thing]) -> Thing:
        """What is known of the image under a key; it is made where nothing is."""
        number = id(image)
        if number not in self._known or self._known[number][0]() is not image:
            self._known[number] = weakref.ref(image, lambda _: self._known.pop(number, None)), {}
        things = self._known[number][1]
        if key not in things:
            things[key] = make()
        return things[key]

    def __len__(self) -> int:
        return len(self._known)
