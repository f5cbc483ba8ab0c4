"""The bars of cohorts, each measured by a command; results as JSON on stdout.

    python benchmarks/cohort.py kills --data ../shared/data/hippocampus       # 60 scans, killed five times, resumed
    python benchmarks/cohort.py overhead                                      # 1000 small scans
    python benchmarks/cohort.py scaling --data ../shared/data/hippocampus     # one worker, two workers
    python benchmarks/cohort.py failures --data ../shared/data/hippocampus    # 20 good scans and 4 hopeless ones
    python benchmarks/cohort.py dask --data ../shared/data/hippocampus        # two local workers, two of Dask
    python benchmarks/cohort.py ahead                                         # the next scan read meanwhile
    python benchmarks/cohort.py outliers --data ../shared/data/hippocampus    # how many stand out, by feature

All run the command line as a user would, with registration alone (`--model none --quality fast`), because it is the
cohort that is measured. `load` is the machine's at the beginning and the end: others may be working on it.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

QUICK = ("--model", "none", "--quality", "fast")
ATLAS_ENV = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


def command(queries, atlas, out, *words):
    """The words of a command line."""
    images, labels = atlas
    program = [sys.executable, "-m", "atlassegfm.cli", "segment", str(queries), "--atlas", str(images)]
    return [*program, "--labels", str(labels), "-o", str(out), *map(str, words)]


def run(queries, atlas, out, *words, threads=None):
    """Run to the end: seconds, CPU seconds of everything that it starts (on Linux), exit code, stderr."""
    environment = {**os.environ, **ATLAS_ENV}
    environment.pop("OMP_NUM_THREADS", None)
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        command(queries, atlas, out, *words), capture_output=True, text=True, env=environment, check=False
    )
    seconds = time.perf_counter() - start
    with contextlib.suppress(ChildProcessError):
        # Fork servers and their workers come to us when the runner has ended, and are counted when waited for.
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": round(seconds, 1),
        "cpu": round(cpu, 1),
        "code": done.returncode,
    }, done.stderr


def cohort_of(data, folder, count):
    """Copies of so many scans as queries; the last one of the set is the atlas too."""
    names = sorted(path.name for path in (data / "images").glob("*.nii.gz"))
    (folder / "queries").mkdir()
    for name in names[:count]:
        shutil.copyfile(data / "images" / name, folder / "queries" / name)
    return folder / "queries", (data / "images" / names[-1], data / "labels" / names[-1])


def results(folder):
    """Everything that is written for queries, but for the times in reports."""
    found = {path.name: path.read_bytes() for end in ("seg.nii.gz", "qc.png") for path in folder.glob(f"*_{end}")}
    for path in folder.glob("*_report.json"):
        report = json.loads(path.read_text(encoding="utf-8"))
        report.pop("timings")
        found[path.name] = json.dumps(report, sort_keys=True)
    return found


def load():
    """The machine's load averages."""
    return [round(x, 2) for x in os.getloadavg()]


def workers_of(pid):
    """Processes that segment for a runner: children of its fork server."""
    lines = subprocess.run(["ps", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True).stdout
    rows = [
        (int(p), int(q), args) for p, q, args in (line.split(None, 2) for line in lines.splitlines() if line.strip())
    ]
    servers = {p for p, q, args in rows if q == pid and "forkserver" in args}
    return [p for p, q, _ in rows if q in servers]


def kills(args, folder):
    """Undisturbed; then killed after random numbers of scans, runner and worker by turns, and resumed."""
    queries, atlas = cohort_of(args.data, folder, args.count)
    first, _ = run(queries, atlas, folder / "undisturbed", *QUICK, "--jobs", 2)
    wanted, out = results(folder / "undisturbed"), folder / "disturbed"
    chance, told, process = random.Random(args.seed), [], None
    words = command(queries, atlas, out, *QUICK, "--jobs", 2, "--retry-failed")
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    for n, after in enumerate(sorted(chance.sample(range(2, args.count - 2), args.kills))):
        whom, victim = "worker" if n % 2 else "runner", None
        while victim is None:
            if process is None or process.poll() is not None:
                process = subprocess.Popen(words, **silent)
            time.sleep(0.2)
            finished = len(list((out / ".cohort" / "records").glob("*.json")))
            if finished >= after:
                time.sleep(chance.uniform(0, 3))
                victim = chance.choice(workers_of(process.pid) or [None]) if whom == "worker" else process.pid
        os.kill(victim, signal.SIGKILL)
        told.append(f"{whom} after {finished} scans")
        if whom == "runner":
            process.wait()
            # Its workers see that they are alone, and let go of the lock.
            time.sleep(2)
    process.wait()
    last, _ = run(queries, atlas, out, *QUICK, "--jobs", 2, "--retry-failed")
    got = results(out)
    return {
        "undisturbed": first,
        "last": last,
        "killed": told,
        "files": len(wanted),
        "missing": sorted(set(wanted) - set(got)),
        "different": sorted(name for name in wanted if got.get(name) != wanted[name]),
        "left_over": [str(path) for path in out.rglob("*") if ".tmp" in path.name or ".atlassegfm-" in path.name],
    }


def small_scans(folder, count, shape=(20, 20, 20)):
    """Noise with two boxes in it, and an atlas of the same kind."""
    from atlassegfm.io import write_image, write_labels
    from atlassegfm.volume import Grid, Volume

    noise, grid = np.random.default_rng(0), Grid(shape, np.diag([2.0, 2.0, 2.0, 1.0]))
    labels = np.zeros(shape, np.uint8)
    labels[4:9, 4:12, 4:12], labels[12:16, 6:14, 6:14] = 1, 2
    (folder / "queries").mkdir()
    for n in range(count + 1):
        image = Volume((noise.normal(100, 10, shape) + 50 * (labels > 0)).astype(np.float32), grid)
        write_image(folder / "queries" / f"s{n:04d}.nii.gz" if n < count else folder / "atlas.nii.gz", image)
    write_labels(folder / "labels.nii.gz", Volume(labels, grid), image)
    return folder / "queries", (folder / "atlas.nii.gz", folder / "labels.nii.gz")


def overhead(args, folder):
    """What the cohort adds to the work on each scan, and the memory of workers and runner from first to last."""
    queries, atlas = small_scans(folder, args.count)
    words = ("--preset", "identity", "--model", "none", "--jobs", 1)
    process = subprocess.Popen(
        command(queries, atlas, folder / "out", *words), stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    runner, start = [], time.perf_counter()
    while process.poll() is None:
        done = len(list((folder / "out" / ".cohort" / "records").glob("*.json")))
        status = Path(f"/proc/{process.pid}/status")
        found = re.search(r"VmRSS:\s+(\d+)", status.read_text()) if status.exists() else None
        if found and done:
            runner.append((done, int(found[1]) // 1024))
        time.sleep(2)
    wall = time.perf_counter() - start
    cases = json.loads((folder / "out" / "cohort.json").read_text())["cases"]
    worked = sum(case["seconds"] for case in cases)
    computed = sum(json.loads(path.read_text())["timings"]["total"] for path in (folder / "out").glob("*_report.json"))
    peaks = [case["peak_mb"] for case in cases]
    again, _ = run(queries, atlas, folder / "out", *words)
    return {
        "scans": len(cases),
        "seconds": round(wall, 1),
        "per_scan_outside_of_the_worker": round((wall - worked) / len(cases), 4),
        "per_scan_read_check_write_picture": round((worked - computed) / len(cases), 4),
        "per_scan_pipeline": round(computed / len(cases), 4),
        "worker_mb_scans_10_to_60": round(float(np.median(peaks[10:60])), 1),
        "worker_mb_last_50": round(float(np.median(peaks[-50:])), 1),
        "runner_mb": [runner[0], runner[len(runner) // 2], runner[-1]],
        "run_again_seconds": again["seconds"],
    }


def scaling(args, folder):
    """One worker with one thread, with two, and two workers with one each, by turns."""
    queries, atlas = cohort_of(args.data, folder, args.count)
    kinds = {"one_worker_one_thread": (1, 1), "one_worker_two_threads": (1, 2), "two_workers_one_thread": (2, 1)}
    found = {name: [] for name in kinds}
    for turn in range(args.turns):
        for name, (jobs, threads) in kinds.items():
            took, _ = run(queries, atlas, folder / f"{name}{turn}", *QUICK, "--jobs", jobs, threads=threads)
            found[name].append({**took, "load": load()[0]})
            print(name, found[name][-1], file=sys.stderr, flush=True)
    best = {name: min(took["seconds"] for took in runs) for name, runs in found.items()}
    same = results(folder / "one_worker_one_thread0") == results(folder / "two_workers_one_thread0")
    ratio = best["one_worker_one_thread"] / best["two_workers_one_thread"]
    return {"runs": found, "best": best, "two_workers_faster_by": round(ratio, 2), "identical": same}


def failures(args, folder):
    """Twenty good scans, and one each that is damaged, empty, of another modality, and too large for its time."""
    from atlassegfm.io import write_image
    from atlassegfm.volume import Grid, Volume

    queries, atlas = cohort_of(args.data, folder, 20)
    good = sorted(queries.iterdir())
    (queries / "corrupt.nii.gz").write_bytes(good[0].read_bytes()[:5000])
    noise = np.random.default_rng(0)

    def write(name, data, spacing=1.0):
        grid = Grid(data.shape, np.diag([spacing, spacing, spacing, 1.0]))
        write_image(queries / f"{name}.nii.gz", Volume(data.astype(np.float32), grid))

    write("empty", np.zeros((35, 51, 35)))
    write("computed_tomography", noise.uniform(-1000, 400, (35, 51, 35)))
    write("endless", noise.uniform(0, 1000, (260, 260, 260)), 0.2)
    words = ("--model", "none", "--jobs", 2, "--timeout", args.timeout)
    took, said = run(queries, atlas, folder / "out", *words)
    cases = json.loads((folder / "out" / "cohort.json").read_text())["cases"]
    return {
        **took,
        "results": len(list((folder / "out").glob("*_seg.nii.gz"))),
        "reasons": {case["name"]: [case["kind"], case["error"]] for case in cases if case["status"] == "failed"},
        "told": [line for line in said.splitlines() if line.startswith("  ")],
    }


def dask(args, folder):
    """Two workers of this machine and two of Dask, by turns."""
    queries, atlas = cohort_of(args.data, folder, args.count)
    engines = {"local": (), "dask": ("--engine", "dask", "--dask-cluster", "local")}
    found = {name: [] for name in engines}
    for turn in range(args.turns):
        for name, words in engines.items():
            took, _ = run(queries, atlas, folder / f"{name}{turn}", *QUICK, "--jobs", 2, *words)
            found[name].append({**took, "load": load()[0]})
            print(name, found[name][-1], file=sys.stderr, flush=True)
    best = {name: min(took["seconds"] for took in runs) for name, runs in found.items()}
    same = [results(folder / f"local{turn}") == results(folder / f"dask{turn}") for turn in range(args.turns)]
    return {"runs": found, "ratio": round(best["dask"] / best["local"], 3), "identical": same}


class Silent:
    """An observer that tells nothing."""

    def planned(self, total, done, stale):
        """Nothing."""

    def step(self, name, step):
        """Nothing."""

    def warned(self, text):
        """Nothing."""

    def ended(self, record):
        """Nothing, unless it failed."""
        if record.error:
            raise SystemExit(f"{record.name}: {record.error}")


def ahead(args, folder):
    """With and without reading the next scan while one is computed, from this disk and from one that takes a second."""
    from atlassegfm.cohort import loading
    from atlassegfm.cohort.pool import Pool
    from atlassegfm.cohort.queries import Query
    from atlassegfm.cohort.runner import Work, run_cohort
    from atlassegfm.cohort.settings import CohortSettings

    paths, atlas = small_scans(folder, args.count)
    queries = [Query(path, path.name[:5]) for path in sorted(paths.iterdir())]
    settings = CohortSettings(*atlas, options={"model": "none", "registration": "identity", "device": "cpu"})
    real, found = loading.load, {}
    for turn in range(args.turns):
        for wait in (0.0, 1.0):
            loading.load = lambda query, wait=wait: (time.sleep(wait), real(query))[1]
            for wanted in (False, True):
                Pool.reads_ahead = wanted
                out = folder / f"{wait} {wanted} {turn}"
                out.mkdir()
                start = time.perf_counter()
                # Forked, so that workers have the slow disk too.
                run_cohort(queries, settings, out, Work(start="fork"), Silent())
                key = f"reading takes {wait:g} s more, {'ahead' if wanted else 'in turn'}"
                found.setdefault(key, []).append(round(time.perf_counter() - start, 1))
                print(key, found[key][-1], file=sys.stderr, flush=True)
    return {"scans": args.count, "seconds": found}


def outliers(args, folder):
    """How many of a set's own labels stand out, and by what: the price of asking."""
    from atlassegfm.cohort.outliers import find_outliers
    from atlassegfm.cohort.records import CaseRecord
    from atlassegfm.cohort.shape import shapes
    from atlassegfm.io import read_labels

    records = []
    for path in sorted((args.data / "labels").glob("*.nii.gz")):
        labels = read_labels(path)
        counts = np.bincount(labels.data.ravel())
        values = [int(value) for value in np.flatnonzero(counts) if value]
        found = shapes(labels, values)
        facts = [
            {"value": v, "name": str(v), "volume_ml": counts[v] * labels.grid.voxel_volume_ml, "shape": found[v]}
            for v in values
        ]
        records.append(CaseRecord(path.name, path.name, "key", labels=facts))
    flagged = find_outliers(records)
    reasons = [text for mine in flagged.values() for texts in mine.values() for text in texts.split("; ")]
    kinds = {
        kind: sum(kind in text for text in reasons) for kind in ("volume", "elongation", "sphericity", "parts", "lies")
    }
    return {"cases": len(records), "flagged_cases": len(flagged), "reasons": kinds}


BARS = {bar.__name__: bar for bar in (kills, overhead, scaling, failures, dask, ahead, outliers)}
COUNTS = {"kills": 60, "overhead": 1000, "scaling": 30, "dask": 60, "ahead": 12}


def main():
    """Measure one bar."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bar", choices=BARS)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/hippocampus"))
    parser.add_argument("--count", type=int, help="scans")
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=25.0)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.data = args.data.absolute()
    args.count = args.count or COUNTS.get(args.bar)
    if sys.platform == "linux":
        # PR_SET_CHILD_SUBREAPER: orphans of what is started here become children of this process.
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    begun = load()
    with tempfile.TemporaryDirectory() as folder:
        found = BARS[args.bar](args, Path(folder))
    print(json.dumps({"bar": args.bar, **found, "load": [begun, load()]}, indent=1))


if __name__ == "__main__":
    main()
