"""Loops compiled at their first call, and run in several threads at once; does not import torch."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

from numba import njit

Kernel = Callable[..., Any]


def compiled(function: Kernel) -> Kernel:
    """Compile at the first call; later processes find the machine code in the cache next to the module or at home."""
    # No assumption that NaN or infinity never come: a bad voxel must show, not turn into an arbitrary number.
    return _compiled(function, {"contract", "reassoc", "nsz", "arcp"})


def compiled_exactly(function: Kernel) -> Kernel:
    """The same without liberties: each operation rounded, in the order in which it is written."""
    return _compiled(function, False)


def _compiled(function: Kernel, liberties: set[str] | bool) -> Kernel:
    options = {"nogil": True, "error_model": "numpy", "fastmath": liberties}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # neither place can be written to: compile in every process
        return njit(**options)(function)


def run_parts(kernel: Kernel, count: int, threads: int, *arrays: object) -> None:
    """Call ``kernel(*arrays, first, last)`` for all of ``range(count)``, in so many parts side by side."""
    threads = max(1, min(threads, count))
    if threads == 1:
        kernel(*arrays, 0, count)
        return
    edges = [count * n // threads for n in range(threads + 1)]
    for job in [_pool(threads).submit(kernel, *arrays, a, b) for a, b in pairwise(edges)]:
        job.result()


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="compiled")
