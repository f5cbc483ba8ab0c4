from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from atlassegfm import runtime
from atlassegfm.errors import InputError

CHILD = """
import json, os, sys
from atlassegfm.runtime import prepare_compute
setup = prepare_compute()
print(json.dumps({
    "torch": "torch" in sys.modules,
    "env": {k: os.environ.get(k) for k in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")},
    "before": setup.before_torch,
    "allocator": setup.allocator,
    "again": prepare_compute().allocator,
}))
"""


FREED = """
import json
from pathlib import Path
import numpy as np
from atlassegfm import runtime

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def told():
    runtime.give_back_freed_memory()
    return resident()

if not runtime.prepare_compute().allocator:
    print(json.dumps(None))
    raise SystemExit
held = [np.ones(1 << 20, np.uint8) for _ in range(200)]
full = told()
kept = held[::20]
del held
print(json.dumps({"full": full, "freed": resident(), "given_back": told(), "right": all(k.all() for k in kept)}))
"""


def run_child(child: str = CHILD, **variables: str) -> dict:
    dropped = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    environment = {k: v for k, v in os.environ.items() if k not in dropped and not k.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", child],
        env={**environment, **variables},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return json.loads(done.stdout)


def test_sets_openmp_without_importing_torch():
    found = run_child()
    assert not found["torch"]
    assert found["before"]
    assert found["env"] == {
        "OMP_NUM_THREADS": str(runtime.available_cores()),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
    }


def test_what_the_user_has_set_stays():
    found = run_child(OMP_NUM_THREADS="1", OMP_WAIT_POLICY="ACTIVE")
    assert found["env"]["OMP_NUM_THREADS"] == "1"
    assert found["env"]["OMP_WAIT_POLICY"] == "ACTIVE"


def test_allocator_is_set_on_glibc_and_left_alone_when_the_user_chose():
    import platform

    on_glibc = sys.platform == "linux" and platform.libc_ver()[0] == "glibc"
    found = run_child()
    assert found["allocator"] == found["again"] == on_glibc
    assert not run_child(MALLOC_TRIM_THRESHOLD_="1000000")["allocator"]


def test_freed_memory_between_buffers_goes_back_to_the_system():
    found = run_child(FREED)
    if found is None:
        pytest.skip("the allocator is set up on Linux with glibc only")
    most = 150 << 20
    assert found["freed"] > found["full"] - most
    assert found["given_back"] < found["full"] - most
    assert found["right"]


def test_where_the_allocator_is_the_users_nothing_is_given_back(monkeypatch):
    monkeypatch.setitem(runtime._state, "allocator", False)
    monkeypatch.setattr(runtime.ctypes, "CDLL", None)
    runtime.give_back_freed_memory()


def test_after_torch_the_environment_is_left_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", object())
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    setup = runtime.prepare_compute()
    assert not setup.before_torch
    assert "OMP_WAIT_POLICY" not in os.environ


AWAIT = """
import sys
from atlassegfm import runtime
if sys.argv[1] == "before":
    import torch
runtime.settle_vector_functions = lambda torch: print("settled", torch.__name__, hasattr(torch, "sqrt"))
runtime.prepare_compute()
runtime.prepare_compute()
print("prepared")
import torch
"""


@pytest.mark.parametrize(
    ("when", "said"),
    [("after", ["prepared", "settled torch True"]), ("before", ["settled torch True", "prepared"])],
)
def test_vector_functions_are_settled_once_whenever_torch_comes(when, said):
    done = subprocess.run([sys.executable, "-c", AWAIT, when], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.splitlines() == said


def test_settling_calls_every_vector_function_on_too_few_numbers_for_two_threads(monkeypatch):
    import torch

    called = set()
    for name in runtime._VECTOR_FUNCTIONS:
        monkeypatch.setattr(torch, name, lambda x, name=name: called.add((name, x.dtype, x.numel())))
    runtime.settle_vector_functions(torch)
    assert {"sqrt", "exp", "log", "tanh"} <= {name for name, _, _ in called}
    assert called == {(name, kind, 1) for name in runtime._VECTOR_FUNCTIONS for kind in (torch.float32, torch.float64)}


def test_given_number_of_threads(monkeypatch):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    # setdefault writes into os.environ; monkeypatch puts the old state back.
    for name in ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "x")
        monkeypatch.delenv(name)
    setup = runtime.prepare_compute(threads=1)
    assert setup.threads == 1
    assert os.environ["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("given", "wanted"), [("3", 3), ("", runtime.available_cores()), ("many", runtime.available_cores())]
)
def test_threads_without_torch_are_those_of_the_environment_or_the_machine(monkeypatch, given, wanted):
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert runtime.compute_threads() == wanted


def test_within_work_side_by_side_no_more_threads_are_started():
    for own, *ids in runtime.side_by_side(
        lambda n: [threading.get_ident(), *runtime.side_by_side(lambda m: threading.get_ident(), range(4))], range(2)
    ):
        assert set(ids) == {own}


def test_an_item_that_is_alone_is_worked_on_by_the_caller_with_all_threads():
    torch = pytest.importorskip("torch")
    found = runtime.side_by_side(lambda n: (threading.get_ident(), torch.get_num_threads()), [0])
    assert found == [(threading.get_ident(), torch.get_num_threads())]


def test_work_side_by_side_keeps_its_order_and_each_item_to_one_thread():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(before)  # as workers of a cohort do: torch repeats it in each new thread
    found = runtime.side_by_side(lambda n: (n * n, torch.get_num_threads()), range(9))
    assert found == [(n * n, 1) for n in range(9)]
    assert runtime.side_by_side(str, []) == []
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError):
        runtime.side_by_side(lambda n: 1 // n, [1, 0])


def test_one_thread_lasts_as_long_as_its_context():
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    with runtime.one_thread():
        assert torch.get_num_threads() == 1
        assert runtime.compute_threads() == 1
    assert torch.get_num_threads() == before


def test_pools_are_looked_for_once_more_when_modules_were_loaded(monkeypatch):
    """Looking takes milliseconds, and work side by side asks for each item."""
    pytest.importorskip("threadpoolctl")
    for _ in range(2):
        with runtime.one_thread():
            pass
    before = runtime._openmp.cache_info()
    with runtime.one_thread():
        pass
    assert runtime._openmp.cache_info().misses == before.misses
    monkeypatch.setitem(sys.modules, "loaded_later", SimpleNamespace())
    with runtime.one_thread():
        pass
    assert runtime._openmp.cache_info().misses == before.misses + 1


def test_threads_are_torchs_where_it_is_at_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(get_num_threads=lambda: 7))
    assert runtime.compute_threads() == 7


def test_device_names_are_resolved():
    import torch

    assert runtime.resolve_device("cpu") == "cpu"
    assert runtime.resolve_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="auto, cpu, cuda, got 'tpu'"):
        runtime.resolve_device("tpu")


def test_a_missing_gpu_is_told(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="no CUDA GPU here"):
        runtime.resolve_device("cuda")


def test_threads_that_the_user_asks_for_reach_children_and_come_before_the_environment(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    runtime.limit_threads(None)
    assert os.environ["OMP_NUM_THREADS"] == "7"
    runtime.limit_threads(3)
    assert os.environ["OMP_NUM_THREADS"] == "3"
