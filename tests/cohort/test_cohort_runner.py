"""A cohort goes on when a query kills its worker, and goes on from where it was when run again."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest

from atlassegfm.cohort.lock import locked
from atlassegfm.cohort.records import CaseRecord
from atlassegfm.cohort.runner import STATE, Work, run_cohort
from atlassegfm.cohort.work import DiskFullError
from atlassegfm.errors import InputError
from spoilt import FAULTY, HANGS, KILLED, NO_MEMORY, NO_SPACE, SLOW

pytestmark = pytest.mark.skipif(os.name == "nt", reason="forks")


class Watch:
    """An observer that remembers, and can do something when a case ends."""

    def __init__(self, then=None):
        self.names, self.steps, self.resumed, self.then = [], [], None, then

    def warned(self, text):
        self.warnings = [*getattr(self, "warnings", []), text]

    def planned(self, total, done, stale):
        self.resumed, self.stale = len(done), stale

    def step(self, name, step):
        self.steps.append((name, step))

    def ended(self, record):
        self.names.append(record.name)
        if self.then:
            self.then()


def run(scans, queries, watch=None, settings=None, **work):
    return run_cohort(queries, settings or scans.settings, scans.out, Work(**work), watch or Watch())


def test_every_kind_of_failure_is_recorded_and_the_rest_is_done(scans, spoilt_pipeline):
    tops = {"killed": KILLED, "hangs": HANGS, "faulty": FAULTY, "memory": NO_MEMORY}
    queries = [scans.query(f"good{n}") for n in range(4)] + [scans.query(name, top) for name, top in tops.items()]
    (scans.folder / "killed2.nii.gz").write_bytes(b"not an image")
    queries.append(replace(queries[0], path=scans.folder / "killed2.nii.gz", name="corrupt"))
    done = run(scans, queries, jobs=2, timeout=5)
    kinds = {record.name: record.kind for record in done.ordered if record.error}
    assert kinds == {
        "killed": "lost", "hangs": "timeout", "faulty": "error", "memory": "memory", "corrupt": "input",
    }  # fmt: skip
    assert "unexpected ValueError: a fault of ours" in done.records["faulty"].error
    assert "not finished after 5 s" in done.records["hangs"].error
    for n in range(4):
        assert (scans.out / f"good{n}_seg.nii.gz").exists()
    assert [record.name for record in done.ordered] == [query.name for query in queries]
    assert not (scans.out / STATE / "work").exists()


def test_finished_is_skipped_and_what_changed_is_done_again(scans, spoilt_pipeline):
    queries = [scans.query(name) for name in ("a", "b", "c")] + [scans.query("bad", FAULTY)]
    run(scans, queries)
    before = {path.name: path.stat().st_mtime_ns for path in scans.out.glob("*_seg.nii.gz")}
    watch = Watch()
    assert run(scans, queries, watch).resumed == 4
    assert watch.names == []
    assert {path.name: path.stat().st_mtime_ns for path in scans.out.glob("*_seg.nii.gz")} == before
    scans.query("b", 99.0)  # other content
    (scans.out / "c_qc.png").write_bytes(b"half")  # half-written
    os.utime(scans.folder / "a.nii.gz", (1, 1))  # same content, other time
    watch = Watch()
    run(scans, queries, watch)
    assert sorted(watch.names) == ["b", "c"]
    watch = Watch()
    run(scans, queries, watch, retry_failed=True)
    assert watch.names == ["bad"]
    watch = Watch()
    run(scans, queries, watch, settings=replace(scans.settings, options={"seed": 1}))
    assert sorted(watch.names) == ["a", "b", "bad", "c"]


def test_results_of_older_settings_do_not_pass_for_new_ones(scans, spoilt_pipeline):
    query = scans.query("a")
    run(scans, [query])
    scans.query("a", FAULTY)
    assert run(scans, [query]).records["a"].error
    assert not (scans.out / "a_seg.nii.gz").exists()


def test_a_full_disk_stops_the_run_and_the_next_goes_on(scans, spoilt_pipeline):
    queries = [scans.query("a"), scans.query("b", NO_SPACE), scans.query("c")]
    with pytest.raises(DiskFullError, match="disk is full"):
        run(scans, queries)
    scans.query("b")
    watch = Watch()
    assert run(scans, queries, watch).resumed >= 1
    assert set(watch.names) >= {"b", "c"}


def test_a_worker_lost_while_it_reads_the_next_scan_costs_neither(scans, spoilt_pipeline, monkeypatch):
    """Nobody knows which of the two it was: each is tried once more by itself."""
    from atlassegfm.cohort import loading

    real = loading.load

    def load(query):
        if query.name == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return real(query)

    monkeypatch.setattr(loading, "load", load)
    queries = [scans.query(name, SLOW) for name in ("a", "deadly", "b", "c")]
    done = run(scans, queries)
    assert {record.name: record.kind for record in done.ordered} == {"a": "", "deadly": "lost", "b": "", "c": ""}


def test_an_interrupt_keeps_what_is_done(scans, spoilt_pipeline):
    queries = [scans.query(name) for name in ("a", "b", "c")]

    def interrupt():
        raise KeyboardInterrupt

    done = run(scans, queries, Watch(interrupt))
    assert done.interrupted
    assert [record.name for record in done.ordered] == ["a"]
    assert json.loads((scans.out / "cohort.json").read_text())["missing"] == ["b", "c"]
    assert "2 not done yet" in (scans.out / "index.html").read_text()
    assert run(scans, queries).resumed == 1


def test_sigterm_ends_a_run_as_an_interrupt_does(scans, spoilt_pipeline):
    timer = threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGTERM))
    timer.start()
    assert run(scans, [scans.query("a", HANGS)]).interrupted
    timer.join()


def test_workers_keep_the_atlas_and_serve_queries_with_their_own(scans, spoilt_pipeline):
    own = replace(scans.query("b"), atlas=scans.settings.atlas, labels=scans.settings.labels)
    watch = Watch()
    done = run(scans, [scans.query("a"), own], watch)
    assert not any(record.error for record in done.ordered)
    assert ("a", "read") in watch.steps


def test_a_damaged_record_is_none(tmp_path):
    (tmp_path / "a.json").write_text("{")
    assert CaseRecord.read(tmp_path / "a.json") is None
    assert CaseRecord.read(tmp_path / "b.json") is None


def test_two_runs_in_one_folder_are_refused_and_a_killed_one_locks_nobody_out(tmp_path):
    path = tmp_path / "lock"
    code = (
        "import sys, time; from pathlib import Path; from atlassegfm.cohort.lock import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(InputError, match=f"process {other.pid}"), locked(path):
        pass
    other.kill()
    other.wait()
    other.stdout.close()
    with locked(path) as stale:
        assert stale
    with locked(path) as stale:
        assert not stale


@pytest.mark.parametrize("whom", ["runner", "worker"])
def test_killed_at_any_time_nothing_is_missing_or_partial(scans, spoilt_pipeline, tmp_path, whom):
    queries = [scans.query(f"q{n}", SLOW) for n in range(6)]
    wanted = {}
    run(scans, queries, jobs=2)
    for path in scans.out.glob("*_seg.nii.gz"):
        wanted[path.name] = path.read_bytes()
    scans.out = tmp_path / "again"
    scans.out.mkdir()
    for wait in (0.3, 0.9, 1.2):
        process = os.fork()
        if process == 0:
            run(scans, queries, jobs=2)
            os._exit(0)
        time.sleep(wait)
        os.kill(process if whom == "runner" else child_of(process) or process, signal.SIGKILL)
        os.waitpid(process, 0)
        wait_for_workers(scans.out)
    done = run(scans, queries, jobs=2, retry_failed=True)
    assert not any(record.error for record in done.ordered)
    assert {path.name: path.read_bytes() for path in scans.out.glob("*_seg.nii.gz")} == wanted


def wait_for_workers(folder):
    """Forked workers share the runner's lock until they have seen its end."""
    for _ in range(200):
        try:
            with locked(folder / STATE / "lock"):
                return
        except InputError:
            if not (folder / STATE).exists():
                return
            time.sleep(0.1)


def child_of(process):
    """A worker of a runner, if there is one yet."""
    found = subprocess.run(["pgrep", "-P", str(process)], capture_output=True, text=True, check=False).stdout.split()
    return int(found[0]) if found else None
