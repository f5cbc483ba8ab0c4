"""What was learnt from an atlas, found again: in this process, and on disk by the next one."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic
from zipfile import BadZipFile

from atlassegfm.io import atomic_path
from atlassegfm.models.recall import Learnt, Recall
from atlassegfm.models.weights import home

#: Changes whenever what is learnt from the same atlas changes.
VERSION = 2
#: What reading a file raises that is missing, cut off or damaged within a zip archive, or holds something else.
UNREADABLE = (OSError, BadZipFile, zlib.error, EOFError, KeyError, TypeError, ValueError, AttributeError)


def cache_folder() -> Path:
    """Folder for what was learnt, beside what was downloaded (`models.weights.home`)."""
    return home() / "customised"


def content_key(atlas: tuple[str, str], told: Any, weights: Path | None = None) -> str:  # noqa: ANN401
    """Name of what is learnt: hash of the atlas (`Support.digests`), the settings `told`, and a file of weights."""
    digest = hashlib.sha256(f"{VERSION} {json.dumps(told, sort_keys=True)}".encode())
    if weights is not None:
        digest.update(weights.read_bytes())
    for part in atlas:
        digest.update(part.encode())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Kind(Generic[Learnt]):
    """A kind of thing that is learnt from an atlas.

    Parameters
    ----------
    suffix : str
        Of its files.
    read : callable
        A file's content; None for one that cannot be read.
    write : callable
        Writes the content to a path.
    memory : Recall
        What this process keeps.
    most : int
        Bytes on disk; files not used for longest go first.
    """

    suffix: str
    read: Callable[[Path], Learnt | None]
    write: Callable[[Learnt, Path], None]
    memory: Recall[Learnt]
    most: int = 512 << 20


class Store(Generic[Learnt]):
    """Things of one kind by content key.

    Parameters
    ----------
    kind : Kind
        What they are.
    folder : Path or None
        Where they are kept on disk; None keeps them in this process only.
    """

    def __init__(self, kind: Kind[Learnt], folder: Path | None) -> None:
        self.kind, self.folder = kind, folder

    def find(self, key: str) -> Learnt | None:
        """What is known under a key; None where nothing is, or its file cannot be read."""
        known = self.kind.memory.find(key)
        if known is not None or self.folder is None:
            return known
        path = self._path(key)
        found = self.kind.read(path)
        if found is None:
            return None
        with contextlib.suppress(OSError):  # a folder that may only be read
            path.touch()
        return self.kind.memory.keep(key, found)

    def keep(self, key: str, learnt: Learnt) -> Learnt:
        """Keep it, on disk as a whole or not at all, and return it."""
        self.kind.memory.keep(key, learnt)
        if self.folder is None:
            return learnt
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self._path(key)) as temporary:
            self.kind.write(learnt, temporary)
        self._forget(but=self._path(key))
        return learnt

    def _forget(self, but: Path) -> None:
        """Remove what is too much on disk, never the file that was just written."""
        left = self.kind.most - _size(but)
        others = (path for path in self.folder.glob(f"*{self.kind.suffix}") if path != but)
        for path in sorted(others, key=_last_used, reverse=True):
            left -= _size(path)
            if left < 0:
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{self.kind.suffix}"


def _last_used(path: Path) -> float:
    found = _facts(path)
    return 0.0 if found is None else found.st_mtime


def _size(path: Path) -> int:
    found = _facts(path)
    return 0 if found is None else found.st_size


def _facts(path: Path) -> os.stat_result | None:
    """What the file system says; None if another process has just removed it."""
    try:
        return path.stat()
    except FileNotFoundError:
        return None
