"""Set up the process for large tensor work; has to run before torch is imported.

docs/decisions/0001-allocator.md holds the measurements behind each setting, 0017-first-calls.md those of the vector
functions.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from atlassegfm.errors import InputError

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")
#: From a function and its arguments to the future of its result.
Start = Callable[..., Future]

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
#: Keep this much freed memory at the top of the heap instead of giving it back; mallopt takes a 32-bit int.
_TRIM_BYTES = 1 << 30

#: Torch's functions of one float that Intel's vector library may compute (aten/src/ATen/cpu/vml.h).
_VECTOR_FUNCTIONS = (
    *("acos", "asin", "atan", "cos", "cosh", "erf", "erfc", "erfinv", "exp", "expm1", "log", "log10", "log1p", "log2"),
    *("sin", "sinh", "sqrt", "tan", "tanh", "trunc"),
)

_state: dict[str, bool] = {"allocator": False, "torch_awaited": False}


@dataclass(frozen=True)
class ComputeSetup:
    """What `prepare_compute` did, for the logs and the tests."""

    threads: int
    environment: dict[str, str] = field(default_factory=dict)
    before_torch: bool = True
    allocator: bool = False


def available_cores() -> int:
    """Cores this process may use (its affinity mask where the system has one)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def compute_threads() -> int:
    """Threads to compute with: torch's number where it is at work, else what the environment or the machine says."""
    torch = sys.modules.get("torch")
    if torch is not None:
        return torch.get_num_threads()
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdigit() and int(given) else available_cores()


def one_thread() -> AbstractContextManager[object]:
    """Let the calling thread compute on one thread for as long as the context lasts, torch and scikit-learn alike."""
    # Torch sets the number of a new thread when it is first asked, which would undo the limit.
    compute_threads()
    return _openmp(len(sys.modules)).limit(limits=1)


@lru_cache(maxsize=1)
def _openmp(modules: int) -> ThreadpoolController:
    """OpenMP's pools in this process; looked for again once more `modules` are loaded, as that takes milliseconds."""
    # Imported late: few commands need it.
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="openmp")


@contextmanager
def beside() -> Iterator[Start]:
    """Start work that goes on beside the caller's, each piece on one thread: ``start(work, *given)`` is its future.

    As many at once as there are threads to compute with; where that is one, work is done when it is started. What is
    not the same on one thread as on several must not be given to this.
    """

    def alone(work: Callable[..., Result], *given: object) -> Result:
        with one_thread():
            return work(*given)

    threads = compute_threads()
    if threads == 1:
        yield _done
        return
    with ThreadPoolExecutor(threads) as pool:
        yield lambda work, *given: pool.submit(alone, work, *given)


def _done(work: Callable[..., Result], *given: object) -> Future[Result]:
    """The future of work that is done at once; its errors are raised at once, too."""
    future = Future()
    future.set_result(work(*given))
    return future


def side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """``[work(item) for item in items]``, by `beside`; an item that is alone is worked on with all threads.

    For many small steps: threads that wait for each other within a step cost more than they give.
    """
    items = list(items)
    if len(items) == 1:
        return [work(items[0])]
    with beside() as start:
        return [future.result() for future in [start(work, item) for item in items]]


def limit_threads(threads: int | None) -> None:
    """Let this process and its children compute with so many threads; has to run before torch is imported.

    Parameters
    ----------
    threads : int or None
        What the user asks for; None changes nothing.
    """
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)


def prepare_compute(threads: int | None = None) -> ComputeSetup:
    """Make tensor work fast on this machine; safe to call often, never changes what the user has set.

    Parameters
    ----------
    threads : int, optional
        Threads for OpenMP; default: the cores that this process may use. A value in ``OMP_NUM_THREADS`` wins.

    Returns
    -------
    ComputeSetup
        The settings now in force. Where torch was imported before, the OpenMP variables come too late and stay as they
        are.
    """
    wanted = {
        "OMP_NUM_THREADS": str(threads or available_cores()),
        # Threads that spin while they wait steal the cores from those that work.
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
    }
    before_torch = "torch" not in sys.modules
    if before_torch:
        for name, value in wanted.items():
            os.environ.setdefault(name, value)
    environment = {name: os.environ[name] for name in wanted if name in os.environ}
    _await_torch()
    setup = ComputeSetup(int(threads or available_cores()), environment, before_torch, _keep_freed_memory())
    logger.debug("compute set-up: %s", setup)
    return setup


def _await_torch() -> None:
    """Have `settle_vector_functions` called when torch is imported; at once if it is there already."""
    if _state["torch_awaited"]:
        return
    _state["torch_awaited"] = True
    # Imported late: commands that compute nothing are to answer at once.
    import wrapt

    wrapt.register_post_import_hook(settle_vector_functions, "torch")


def settle_vector_functions(torch: ModuleType) -> None:
    """Call each of the vector functions once on one thread, before any is called on several.

    Intel's library chooses the code of each function at its first call. Where that comes from two threads at once, one
    of them may get the least accurate code for its share of the call: square roots wrong by up to 3e-4 of their value,
    silently, in one process of some dozens (pytorch issue 188792; MKL 2024.2, which torch's wheels carry).
    """
    for kind in (torch.float32, torch.float64):
        one = torch.ones(1, dtype=kind)
        for name in _VECTOR_FUNCTIONS:
            getattr(torch, name)(one)


def _keep_freed_memory() -> bool:
    """Tell glibc to reuse large buffers instead of returning them to the system after each use.

    Otherwise every large tensor is a fresh mapping whose pages the kernel has to clear one fault at a time. Elsewhere
    than on Linux with glibc nothing is done. Users who set glibc's own variables keep them.
    """
    if _state["allocator"]:
        return True
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    mallopt.argtypes = (ctypes.c_int, ctypes.c_int)
    mallopt.restype = ctypes.c_int
    accepted = [mallopt(_M_MMAP_MAX, 0), mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES)]
    _state["allocator"] = all(accepted)
    return _state["allocator"]


def give_back_freed_memory() -> None:
    """Return what lies freed between buffers in use to the system; between steps of work that need other sizes.

    `prepare_compute` has freed memory kept, in pieces of the sizes that one step asked for. Where the next asks for
    larger ones it grows beside them (docs/decisions/0001-allocator.md). Where the allocator is not set up by us nothing
    is done.
    """
    if _state["allocator"]:
        ctypes.CDLL(None).malloc_trim(0)


def resolve_device(wanted: str) -> str:
    """Turn "auto" into "cuda" where there is a usable GPU, else "cpu"; imports torch.

    Raises
    ------
    InputError
        For another name, or for "cuda" where there is none.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device: expected one of auto, cpu, cuda, got {wanted!r}")
    if wanted == "cpu":
        return wanted
    import torch

    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise InputError("--device: expected cpu or auto, got cuda, but torch finds no CUDA GPU here")
    return "cuda" if found else "cpu"
