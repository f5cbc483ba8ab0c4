"""One run at a time in a folder of results."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from atlassegfm.errors import InputError


@contextlib.contextmanager
def locked(path: Path, *, shared: bool = False) -> Iterator[bool]:
    """Hold a lock file; yields whether an earlier run left it behind without coming to its end.

    The lock is the operating system's and goes with the process, so that a file left by a killed run locks nobody out.

    Parameters
    ----------
    path : Path
        The lock file; its folder has to exist.
    shared : bool
        Whether others may share it; those who want it alone are kept out. On Windows it is never shared.

    Raises
    ------
    InputError
        If another run holds it, or it cannot be written.
    """
    try:
        stream = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); check permissions and free space") from error
    with stream:
        if not _take(stream, shared):
            raise InputError(
                f"{path.parent.parent}: another run is writing here ({_holder(stream)}); wait for its end or choose "
                "another folder with -o"
            )
        if shared:
            # Its content is for those who hold it alone.
            yield False
            return
        stale = bool(_content(stream))
        stream.seek(0)
        stream.truncate()
        json.dump({"pid": os.getpid(), "host": socket.gethostname()}, stream)
        stream.flush()
        try:
            yield stale
        finally:
            # Emptied, not deleted: who deletes a lock file can delete one that another run has just taken.
            stream.seek(0)
            stream.truncate()


def _take(stream: IO[str], shared: bool) -> bool:
    try:
        if os.name == "nt":
            import msvcrt

            # Bytes far behind the content, which others may still read.
            stream.seek(1 << 30)
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _content(stream: IO[str]) -> str:
    stream.seek(0)
    return stream.read(1000)


def _holder(stream: IO[str]) -> str:
    try:
        facts = json.loads(_content(stream))
        return f"process {facts['pid']} on {facts['host']}"
    except (ValueError, KeyError, TypeError):
        return "just started, or on parts of it"
