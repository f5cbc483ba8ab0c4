"""Cohorts on a real Dask scheduler with workers on the loopback address, which are killed and restarted."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from atlassegfm.cohort.engine_choice import DaskChoice
from atlassegfm.cohort.runner import Work, run_cohort
from atlassegfm.errors import AtlasSegError
from atlassegfm.io import write_image
from atlassegfm.volume import Grid, Volume

pytest.importorskip("distributed", reason="the extra dask is not installed")
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals")

#: Registration that takes next to no time, in the real pipeline: what is tested are the workers.
QUICK = {"model": "none", "registration": "identity", "device": "cpu", "seed": 0}


class Watch:
    """An observer that remembers, and does something when a case ends or a step begins."""

    def __init__(self, ended=None, stepped=None):
        self.names, self.warnings, self.steps = [], [], []
        self._ended, self._stepped = ended, stepped

    def planned(self, total, done, stale):
        self.resumed = len(done)

    def step(self, name, step):
        self.steps.append((name, step))
        if self._stepped:
            self._stepped(name, step)

    def ended(self, record):
        self.names.append(record.name)
        if self._ended:
            self._ended(record)

    def warned(self, text):
        self.warnings.append(text)


def free_port():
    with socket.socket() as stream:
        stream.bind(("127.0.0.1", 0))
        return stream.getsockname()[1]


class Cluster:
    """A scheduler and workers as somebody would start them in terminals."""

    def __init__(self, folder):
        self.folder, self.port, self.processes = folder, free_port(), {}

    @property
    def address(self):
        return f"tcp://127.0.0.1:{self.port}"

    def start(self, name, *words):
        environment = {**os.environ, "DASK_DISTRIBUTED__SCHEDULER__WORKER_SATURATION": "1.0"}
        environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
            # A group of its own, so that it can be killed with everything that it has started.
            self.processes[name] = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def scheduler(self):
        self.start("scheduler", "scheduler", "--host", "127.0.0.1", "--port", str(self.port), "--no-dashboard")

    def worker(self, name, *more):
        words = (
            *more,
            "--nthreads",
            "1",
            "--no-dashboard",
            "--death-timeout",
            "60",
            "--local-directory",
            str(self.folder),
        )
        self.start(name, "worker", self.address, "--host", "127.0.0.1", *words)

    def kill(self, name):
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@pytest.fixture
def cluster(tmp_path):
    (tmp_path / "dask").mkdir()
    cluster = Cluster(tmp_path / "dask")
    cluster.scheduler()
    cluster.worker("first")
    cluster.worker("second")
    yield cluster
    for name in list(cluster.processes):
        cluster.kill(name)


@pytest.fixture
def cohort(scans):
    settings = replace(scans.settings, options=QUICK)
    queries = [scans.query(f"q{n}") for n in range(8)]
    return SimpleNamespace(scans=scans, settings=settings, queries=queries, folder=scans.folder.parent)


def run(cohort, out, watch=None, dask=None, **work):
    folder = cohort.folder / out
    folder.mkdir(exist_ok=True)
    return run_cohort(cohort.queries, cohort.settings, folder, Work(dask=dask, **work), watch or Watch())


def written(folder):
    """Bytes of label maps and pictures; reports but for their times."""
    found = {path.name: path.read_bytes() for end in ("seg.nii.gz", "qc.png") for path in folder.glob(f"*_{end}")}
    for path in folder.glob("*_report.json"):
        report = json.loads(path.read_text(encoding="utf-8"))
        del report["timings"]
        found[path.name] = report
    return found


def children_of(process):
    """All processes below one."""
    lines = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout.splitlines()
    pairs = [tuple(map(int, line.split())) for line in lines]
    found, level = [], {process}
    while level:
        level = {pid for pid, parent in pairs if parent in level}
        found += level
    return found


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen"
        time.sleep(0.1)


def test_lost_workers_and_scheduler_cost_nothing_and_results_are_the_local_ones(cohort, cluster):
    run(cohort, "local")
    wanted = written(cohort.folder / "local")
    assert len(wanted) == 24
    killed = []

    def disturb(record):
        if not killed:
            # A node goes: worker, nanny, the process with the query.
            killed.append(cluster.processes["first"].pid)
            cluster.kill("first")
        elif len(killed) == 1 and len(watch.names) == 3:
            killed.append(cluster.processes["scheduler"].pid)
            for name in list(cluster.processes):
                cluster.kill(name)
            cluster.scheduler()
            cluster.worker("third")

    watch = Watch(disturb)
    done = run(cohort, "dask", watch, DaskChoice(cluster.address))
    assert len(killed) == 2
    assert any("scheduler is lost" in text for text in watch.warnings)
    assert not [record.error for record in done.ordered if record.error]
    assert sorted(watch.names) == sorted(query.name for query in cohort.queries)
    assert written(cohort.folder / "dask") == wanted
    assert {"read", "write"} <= {step for _, step in watch.steps}
    assert not (cohort.folder / "dask" / ".cohort" / "work").exists()


def segmenting(cluster, names):
    """The processes that segment for these workers: children of their fork servers."""
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("finds processes as Linux shows them")
    below = [Path(f"/proc/{pid}/cmdline") for name in names for pid in children_of(cluster.processes[name].pid)]
    # Forked children are called like the server that they come from.
    alike = {int(path.parent.name) for path in below if path.exists() and b"forkserver" in path.read_bytes()}
    return {child for process in alike for child in children_of(process)}


def test_a_query_that_kills_or_hangs_is_recorded_and_its_dask_worker_goes_on(cohort, cluster):
    cluster.kill("second")
    slow = big_scan(cohort, "crashes")
    cohort.queries[:] = [cohort.queries[0], slow, replace(slow, name="hangs"), cohort.queries[1]]
    cohort.settings = replace(cohort.settings, options={**QUICK, "registration": "default"})

    def disturb(name, step):
        if step == "registration" and name in ("crashes", "hangs"):
            for process in segmenting(cluster, ["first"]):
                os.kill(process, signal.SIGKILL if name == "crashes" else signal.SIGSTOP)

    done = run(cohort, "dask", Watch(stepped=disturb), DaskChoice(cluster.address), timeout=15)
    kinds = {record.name: record.kind for record in done.ordered}
    assert kinds == {"q0": "", "crashes": "lost", "hangs": "timeout", "q1": ""}
    assert "its process was lost (killed" in done.records["crashes"].error
    assert "not finished after 15 s" in done.records["hangs"].error


def big_scan(cohort, name):
    grid = Grid((96, 96, 96), np.diag([0.3, 0.3, 0.3, 1.0]))
    data = np.random.default_rng(0).uniform(0, 100, grid.shape).astype(np.float32)
    path = cohort.scans.folder / f"{name}.nii.gz"
    write_image(path, Volume(data, grid))
    return replace(cohort.queries[0], path=path, name=name)


def test_workers_of_a_run_that_is_over_drop_what_they_have(cohort, cluster):
    cohort.queries[:] = [big_scan(cohort, "slow")]
    cohort.settings = replace(cohort.settings, options={**QUICK, "registration": "default"})

    def interrupt(name, step):
        if step == "registration":
            raise KeyboardInterrupt

    assert run(cohort, "dask", Watch(stepped=interrupt), DaskChoice(cluster.address)).interrupted
    wait_until(lambda: not segmenting(cluster, ["first", "second"]))
    assert not (cohort.folder / "dask" / "slow_seg.nii.gz").exists()


def test_scans_for_a_gpu_wait_for_a_worker_that_offers_one(cohort, cluster, monkeypatch):
    monkeypatch.setattr("atlassegfm.cohort.dask_engine.SAY_AFTER", 1.0)
    cohort.queries[:] = cohort.queries[:1]
    cohort.settings = replace(cohort.settings, options={**QUICK, "device": "cuda"})

    class Helper(Watch):
        def warned(self, text):
            super().warned(text)
            cluster.worker("with_gpu", "--resources", "GPU=1")

    watch = Helper()
    record = run(cohort, "dask", watch, DaskChoice(cluster.address)).records["q0"]
    assert "none that can take a scan; waiting for one; those for --device cuda" in watch.warnings[0]
    # It has reached a worker; whether that one has a GPU is another question.
    assert record.error == "" or "finds no CUDA GPU" in record.error


def test_a_scheduler_that_is_not_there_is_one_line(cohort, monkeypatch):
    monkeypatch.setattr("atlassegfm.cohort.dask_engine.FIRST_PATIENCE", 0.0)
    with pytest.raises(AtlasSegError, match="no Dask scheduler can be reached"):
        run(cohort, "dask", dask=DaskChoice(f"tcp://127.0.0.1:{free_port()}"))


def test_slurm_jobs_segment_what_the_local_engine_does(cohort, tmp_path, monkeypatch):
    """With a `sbatch` that starts the job script at once: what dask-jobqueue writes is run by a shell."""
    pytest.importorskip("dask_jobqueue", reason="the extra dask is not installed")
    pytest.importorskip("cryptography", reason="the extra dask is not installed")
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
    # The script is deleted when sbatch returns, so it is copied, as SLURM does.
    copy = f"cp $1 {scripts}/job.sh"
    write_script(scripts / "sbatch", f"{copy}; setsid sh {scripts}/job.sh >{scripts}/job.log 2>&1 & echo $!")
    write_script(scripts / "scancel", 'kill -TERM -- "-$1"')
    cohort.queries[:] = cohort.queries[:2]
    run(cohort, "local")
    options = {"cores": 1, "memory": "2GB", "interface": "lo"}
    done = run(cohort, "dask", dask=DaskChoice(cluster="slurm", options=options))
    assert not [record.error for record in done.ordered if record.error], (scripts / "job.log").read_text()
    assert written(cohort.folder / "dask") == written(cohort.folder / "local")
    assert "#SBATCH --mem=2G" in (scripts / "job.sh").read_text()
    assert not list((cohort.folder / "dask" / ".cohort").glob(".dask-jobqueue*"))


def write_script(path, text):
    if shutil.which("setsid") is None:
        pytest.skip("no setsid here")
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
