"""Read thousands of damaged files of every format; count crashes, hangs, tracebacks, and memory.

    .venv/bin/python benchmarks/fuzz.py [--count 10000] [--first 0] [--workers 2] [--seconds 20]

Every input follows from its number. Reading happens in worker processes, so that a crash of a decoder is seen and
counted; memory is the peak of one worker while it reads one input, everything included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from multiprocessing.connection import Connection, wait
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

#: A worker that wants more than this is stopped by the system, bytes of address space.
ADDRESS_SPACE = 16 << 30


def peak_mb() -> float:
    """Peak memory since the last `reset_peak`, MB."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024


def reset_peak() -> None:
    """Start the peak anew at what is used now."""
    Path("/proc/self/clear_refs").write_text("5")


def work(pipe: Connection, scratch: str) -> None:
    """Answer numbers with (outcome, text, MB)."""
    from hostile import attempt, healthy, seeds, spoiled

    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
    folder = Path(scratch)
    valid = seeds(folder / "valid")
    healthy(valid)
    while (seed := pipe.recv()) is not None:
        name, block = spoiled(valid, seed)
        case = folder / "case"
        shutil.rmtree(case, ignore_errors=True)
        case.mkdir()
        reset_peak()
        try:
            text = attempt(case, name, block, valid)
            answer = "refused" if text else "read", f"{name}: {text}"
        except MemoryError:
            answer = "out of memory", name
        except Exception:  # noqa: BLE001 - whatever escapes is what this looks for
            answer = "traceback", f"{name}: {traceback.format_exc()}"
        pipe.send((*answer, peak_mb()))


class Worker:
    """A process that reads one input at a time."""

    def __init__(self, scratch: Path, number: int) -> None:
        self.scratch = scratch / f"worker{number}"
        self.seed: int | None = None
        self.start()

    def start(self) -> None:
        """Start the process, anew after a crash."""
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir()
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, str(self.scratch)), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, seed: int) -> None:
        """Hand over an input."""
        self.seed, self.since = seed, time.monotonic()
        self.pipe.send(seed)


def run(seeds_to_do: list[int], workers: list[Worker], seconds: float) -> tuple[Counter, list[str], float]:
    """Read all inputs; returns outcomes, what went wrong, and the peak memory of one worker."""
    outcomes, wrong, peak = Counter(), [], 0.0
    todo = seeds_to_do[::-1]
    for worker in workers:
        if todo:
            worker.give(todo.pop())
    while busy := [worker for worker in workers if worker.seed is not None]:
        ready = wait([worker.pipe for worker in busy], timeout=1.0)
        for worker in busy:
            if worker.pipe in ready:
                try:
                    outcome, text, memory = worker.pipe.recv()
                    peak = max(peak, memory)
                except EOFError:
                    worker.process.join()
                    outcome, text = "crash", f"exit code {worker.process.exitcode}"
                    worker.start()
            elif time.monotonic() - worker.since > seconds:
                worker.process.kill()
                worker.process.join()
                outcome, text = "hang", f"more than {seconds:g} s"
                worker.start()
            else:
                continue
            outcomes[outcome] += 1
            if outcome not in ("read", "refused"):
                wrong.append(f"{worker.seed}: {outcome}: {text}")
            worker.seed = None
            if todo:
                worker.give(todo.pop())
    return outcomes, wrong, peak


def main() -> None:
    """Run and tell; exit code 1 when anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=20.0, help="more than this for one input is a hang")
    options = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as scratch:
        workers = [Worker(Path(scratch), n) for n in range(options.workers)]
        inputs = list(range(options.first, options.first + options.count))
        outcomes, wrong, peak = run(inputs, workers, options.seconds)
        for worker in workers:
            worker.process.kill()
    for line in wrong:
        print(line)
    print(f"{options.count} inputs in {time.perf_counter() - start:.0f} s: ", end="")
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())) + f"; peak {peak:.0f} MB")
    sys.exit(1 if wrong or peak > 1024 else 0)


if __name__ == "__main__":
    main()
