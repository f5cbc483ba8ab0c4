"""Processes that compute for another one: how they start, how they end with it, what their exit code tells."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator
from typing import Any


def process_context(start: str | None, preload: str) -> Any:  # noqa: ANN401
    """The way to start processes: "forkserver" where there is one, which imports the module `preload` once."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context(start or ("forkserver" if "forkserver" in methods else "spawn"))
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload([preload])
    return context


def end_with_parent() -> None:
    """End this process when the one that asked for it has ended, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A killed parent cannot terminate its children; left alone they would go on computing for nobody.
        threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


@contextlib.contextmanager
def threads_in_environment(threads: int | None) -> Iterator[None]:
    """OpenMP reads its number of threads when torch is imported, so children must find it in the environment."""
    if threads is None or "OMP_NUM_THREADS" in os.environ:
        yield
        return
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        del os.environ["OMP_NUM_THREADS"]


def exit_reason(code: int | None) -> str:
    """What an exit code tells, in a few words."""
    # Negative codes are signals; -9 is what the kernel sends when memory runs out.
    return "killed, most likely out of memory" if code == -9 else f"ended with code {code}"
