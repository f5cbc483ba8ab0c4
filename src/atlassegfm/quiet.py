"""Silence for foreign code that writes to the terminal past Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

STDOUT, STDERR = 1, 2


@contextmanager
def silenced(*descriptors: int) -> Iterator[None]:
    """Send file descriptors of this process to nowhere while the block runs.

    C++ and Fortran libraries print past ``sys.stdout``, into the way of ``--json``. What other threads print there
    meanwhile is lost too.

    Parameters
    ----------
    *descriptors : int
        `STDOUT`, `STDERR`; those that are closed are left alone.
    """
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            stream.flush()
    kept = {}
    for number in descriptors:
        with suppress(OSError):
            kept[number] = os.dup(number)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in kept:
            os.dup2(nowhere, number)
        yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)
        os.close(nowhere)
