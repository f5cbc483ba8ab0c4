"""Registration methods side by side on real pairs: Dice, seconds, memory, folds.

    python benchmarks/registration.py                                   # default and greedy, all sets of the bar
    python benchmarks/registration.py --pairs abdomen-mr --methods default,affine,greedy,greedy@issue
    python benchmarks/registration.py --methods default,default+quality=fast
    python benchmarks/registration.py --pairs dev --limit 1 --output /tmp/registration
    python benchmarks/registration.py --output docs/results/registration    # writes .json, .md and .png

Each method and pair runs in a process of its own, one after the other, so that memory and CPU seconds are its own. The
method registers two small synthetic images first, which are not counted: what is loaded once per process (compiled
kernels, a peer's libraries) is no part of a pair.
A method is a name of the registry, or with an option ``NAME+KEY=VALUE``; ``NAME@issue`` gives a peer the working
copies on which the issue measured it, and ``NAME@2.5`` copies of 2.5 mm.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path

from registration_pairs import GROUPS, Pair, select
from registration_report import main_table, markdown, plot, summaries

REPOSITORY = Path(__file__).resolve().parents[1]
EMPTY = {
    "dice": 0.0,
    "dice_affine": 0.0,
    "wall_s": 0.0,
    "cpu_s": 0.0,
    "peak_mb": 0.0,
    "folding_percent": 0.0,
    "sd_log_jacobian": 0.0,
    "stages": {},
    "dice_per_label": {},
    "warnings": [],
}


class StageClock:
    """Wall and CPU seconds (all threads) between the steps that a method tells of."""

    def __init__(self):
        self.stages = {}
        self._name, self._wall, self._cpu = "preparation", time.perf_counter(), cpu_seconds()

    def __call__(self, step, fraction):
        """Take a method's progress."""
        if step != self._name:
            self.close()
            self._name = step

    def close(self):
        """Book the time since the last step."""
        wall, cpu = time.perf_counter(), cpu_seconds()
        stage = self.stages.setdefault(self._name, {"wall_s": 0.0, "cpu_s": 0.0})
        stage["wall_s"] += wall - self._wall
        stage["cpu_s"] += cpu - self._cpu
        self._wall, self._cpu = wall, cpu


def cpu_seconds():
    """User and system seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def base_name(method):
    """The registry's name in METHOD, METHOD@SPACING or METHOD+KEY=VALUE."""
    return method.partition("+")[0].partition("@")[0]


def run_method(method, fixed, moving, settings, pair):
    """Call a registry method, perhaps with options, or a peer on working copies of another size."""
    from atlassegfm.registration.registry import METHODS, register

    name, *options = method.split("+")
    name, _, spacing = name.partition("@")
    if not spacing:
        settings = replace(settings, options=dict(option.split("=", 1) for option in options))
        return register(fixed, moving, name, settings)
    module, function = METHODS[name].target.split(":")
    size = pair.peer_spacing_mm if spacing == "issue" else float(spacing)
    return getattr(importlib.import_module(module), function)(fixed, moving, settings, spacing_mm=size)


def warm_up(job, pair):
    """Let the method load what it loads once per process; of the paper's network one iteration is enough."""
    import numpy as np
    from scipy.ndimage import gaussian_filter

    from atlassegfm.errors import RegistrationError
    from atlassegfm.registration.result import Settings
    from atlassegfm.volume import Grid, Volume

    noise = np.random.default_rng(0).random((2, 32, 36, 40), dtype=np.float32)
    grid = Grid(noise.shape[1:], np.diag([2.0, 2.0, 2.0, 1.0]))
    first, second = (Volume(gaussian_filter(one, 3.0), grid) for one in noise)
    brief = "+iterations=1" if base_name(job["method"]) == "voxelmorph" else ""
    # Noise looks like no other noise: that this is found out is all that is wanted.
    with contextlib.suppress(RegistrationError):
        run_method(job["method"] + brief, first, second, Settings(job["seed"], job["device"]), pair)


def child(job):
    """Run one method on one pair in this process and return its figures."""
    from atlassegfm.runtime import prepare_compute

    prepare_compute()
    from atlassegfm.evaluation.memory import peak_mb
    from atlassegfm.io import read_image, read_labels
    from atlassegfm.registration.focus import Focus
    from atlassegfm.registration.result import Settings

    pair = Pair(**{**job["pair"], "labels": tuple(job["pair"]["labels"])})
    folder = Path(job["data"]) / pair.dataset
    fixed, moving = (read_image(folder / "images" / f"{name}.nii.gz") for name in (pair.query, pair.atlas))
    labels = read_labels(folder / "labels" / f"{pair.atlas}.nii.gz")
    focus = Focus.of(labels, pair.labels)
    warm_up(job, pair)
    clock = StageClock()
    wall, cpu = time.perf_counter(), cpu_seconds()
    result = run_method(job["method"], fixed, moving, Settings(job["seed"], job["device"], clock, focus=focus), pair)
    clock.close()
    figures = {
        "wall_s": time.perf_counter() - wall,
        "cpu_s": cpu_seconds() - cpu,
        "peak_mb": peak_mb(),
        "stages": clock.stages,
        "warnings": result.warnings,
        "metrics": result.metrics,
    }
    return figures | judge(result.transform, fixed, folder, pair)


def judge(transform, fixed, folder, pair):
    """Dice of the carried labels, folds and smoothness inside the body."""
    from atlassegfm.io import read_labels
    from atlassegfm.overlap import dice
    from atlassegfm.registration.measures import foreground, smoothness
    from atlassegfm.resampling import warp_labels

    truth, atlas = (read_labels(folder / "labels" / f"{name}.nii.gz") for name in (pair.query, pair.atlas))
    scores = []
    for one in (transform, transform.linear_part()):
        found = warp_labels(atlas, truth.grid, one).data
        scores.append({str(v): dice(found == v, truth.data == v) for v in pair.labels})
    facts = smoothness(transform, fixed.with_data(foreground(fixed)))
    return {
        "dice_per_label": scores[0],
        "dice": sum(scores[0].values()) / len(pair.labels),
        "dice_affine": sum(scores[1].values()) / len(pair.labels),
        "folding_percent": facts["folding_percent"],
        "sd_log_jacobian": facts["sd_log_jacobian"],
    }


def child_main(job_file):
    """Entry of the fresh process: job in, figures out, both as JSON files."""
    from atlassegfm.errors import AtlasSegError, MissingExtraError

    job = json.loads(Path(job_file).read_text())
    try:
        figures = {"error": None, **child(job)}
    except MissingExtraError as error:
        figures = {"error": str(error), "missing": True}
    except AtlasSegError as error:
        figures = {"error": str(error)}
    Path(job["answer"]).write_text(json.dumps(figures))


def run_pair(method, pair, arguments):
    """One method on one pair in a fresh process; a crash or a time-out is a failure with Dice 0."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        job = {"method": method, "pair": asdict(pair), "data": str(arguments.data), "answer": str(answer)}
        job |= {"seed": arguments.seed, "device": arguments.device}
        (Path(folder) / "job.json").write_text(json.dumps(job))
        command = [sys.executable, __file__, "--child", str(Path(folder) / "job.json")]
        try:
            done = subprocess.run(
                command, capture_output=True, encoding="utf-8", timeout=arguments.timeout, check=False
            )
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            figures = json.loads(answer.read_text()) if answer.exists() else {"error": f"crash: {lines[-1]}"}
        except subprocess.TimeoutExpired:
            figures = {"error": f"no result after {arguments.timeout} s"}
    return {"set": pair.set_name, "pair": pair.name, "method": method, **EMPTY, **figures}


def parse():
    """Read the command line."""
    from atlassegfm.registration.registry import METHODS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data", help="development scans")
    parser.add_argument("--methods", default="default,greedy", help=f"out of {', '.join(METHODS)}, or NAME@issue")
    parser.add_argument("--pairs", default="all", help=f"out of {', '.join(GROUPS)}")
    parser.add_argument("--limit", type=int, help="at most so many pairs of each set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--timeout", type=float, default=900.0, help="seconds after which a run counts as failed")
    parser.add_argument("--output", type=Path, help="write OUTPUT.json, OUTPUT.md and OUTPUT.png")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    arguments.methods = arguments.methods.split(",")
    unknown = [name for name in arguments.methods if base_name(name) not in METHODS]
    if unknown:
        parser.error(f"unknown methods {', '.join(unknown)}: choose out of {', '.join(METHODS)}")
    peers = [name for name, info in METHODS.items() if info.extra is not None]
    if any("@" in name and base_name(name) not in peers for name in arguments.methods):
        parser.error(f"only the peers ({', '.join(peers)}) take another working copy by @")
    return arguments


def measure(arguments):
    """Run everything, one after the other; pairs outside, so that a busy machine is equally busy for all methods."""
    from atlassegfm.evaluation.environment import environment

    runs, missing = [], set()
    for pair in select(arguments.pairs.split(","), arguments.data, arguments.limit):
        for method in arguments.methods:
            if method in missing:
                continue
            run = run_pair(method, pair, arguments)
            if run.pop("missing", False):
                missing.add(method)
                print(f"{method}: left out ({run['error']})", flush=True)
                continue
            runs.append(run)
            told = run["error"] or (
                f"Dice {run['dice']:.3f} (affine {run['dice_affine']:.3f})  {run['wall_s']:6.1f} s wall "
                f"{run['cpu_s']:6.1f} s CPU  {run['peak_mb']:5.0f} MB  folds {run['folding_percent']:.4f} %"
            )
            print(f"{pair.name:46s} {method:16s} {told}", flush=True)
    facts = environment(1, _command(sys.argv[1:]))
    facts["packages"] |= _peers()
    date = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"date": date, "environment": facts, "load_average": list(os.getloadavg()), "runs": runs}


def _command(options):
    """What was typed, without the options that hold this machine's paths: the page is checked in."""
    kept, skip = [], False
    for option in options:
        if not skip and option.partition("=")[0] not in ("--data", "--output"):
            kept.append(option)
        skip = option in ("--data", "--output")
    return " ".join(["python benchmarks/registration.py", *kept])


def _peers():
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("picsl-greedy", "antspyx", "itk-elastix", "convexAdam"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def main():
    """Measure, print the table, write the files."""
    arguments = parse()
    if arguments.child:
        child_main(arguments.child)
        return
    result = measure(arguments)
    if not result["runs"]:
        raise SystemExit("nothing was run")
    print("\n" + main_table(summaries(result["runs"])))
    if arguments.output:
        from atlassegfm.io import atomic_path, write_text_atomic

        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        json_file, page, picture = (
            arguments.output.with_name(arguments.output.name + e) for e in (".json", ".md", ".png")
        )
        write_text_atomic(json_file, json.dumps(result, indent=1) + "\n")
        write_text_atomic(page, markdown(result, picture.name))
        with atomic_path(picture) as temporary:
            plot(result, temporary)


if __name__ == "__main__":
    main()
