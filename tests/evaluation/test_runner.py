"""Runs, records, resume and failures, with a procedure whose numbers are known."""

import json
import mmap
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from atlassegfm.errors import InputError, RegistrationError
from atlassegfm.evaluation import runner
from atlassegfm.evaluation.baselines import PROCEDURES
from atlassegfm.evaluation.dataset import Dataset
from atlassegfm.evaluation.methods import PRESETS, parse_method
from atlassegfm.evaluation.protocol import plan
from atlassegfm.evaluation.records import Record
from atlassegfm.evaluation.runner import Settings, run
from atlassegfm.evaluation.tables import failures, rows
from atlassegfm.io import read_labels

METHODS = tuple(PRESETS[name] for name in ("default", "model", "registration"))


def settings(dataset, methods=METHODS, labels=None, **options):
    chosen = plan(dataset.ids, **({"folds": 3} | options))
    return Settings(methods, dataset.chosen_labels(labels), chosen)


def by_method(evaluation):
    return {m.name: [r for r in rows(evaluation) if r.method == m.name] for m in evaluation.settings.methods}


def test_three_methods_cost_one_run_and_have_their_own_numbers(toy, tmp_path, copying):
    done = run(toy, settings(toy), tmp_path / "out", isolate=False)
    assert len(copying) == len(done.settings.plan.pairs) == 3
    assert all(truth is None for _, truth in copying)  # no procedure but the marked ones sees the truth
    found = by_method(done)
    assert [r.seconds for r in found["default"][:1] + found["model"][:1] + found["registration"][:1]] == [3.0, 2.0, 1.0]
    assert {r.status for r in rows(done)} == {"ok"}
    for row in found["registration"]:
        shift = abs(int(row.atlas[-1]) % 3 - int(row.query[-1]) % 3)
        side = {1: 6, 2: 4}[row.label]
        assert row.metrics["dice"] == pytest.approx((side - shift) / side)


def test_labels_in_neither_atlas_nor_truth_are_not_scored(toy, tmp_path, copying):
    done = run(toy, settings(toy), tmp_path / "out", isolate=False)
    assert {r.label for r in rows(done)} == {1, 2}  # 7 is named in dataset.json but drawn nowhere


def test_chosen_labels_alone_reach_the_method(toy, tmp_path, copying, monkeypatch):
    seen = []
    inner = PROCEDURES["pipeline"]
    monkeypatch.setitem(PROCEDURES, "pipeline", lambda job: seen.append(job.atlas.values) or inner(job))
    done = run(toy, settings(toy, labels=[2]), tmp_path / "out", isolate=False)
    assert seen == [[2]] * 3
    assert {r.label for r in rows(done)} == {2}


def test_predictions_are_kept(toy, tmp_path, copying):
    done = run(toy, settings(toy), tmp_path / "out", isolate=False)
    pair = done.settings.plan.pairs[0]
    record = done.records[pair, "default"]
    final = read_labels(tmp_path / "out" / record.output("final").prediction)
    atlas = read_labels(toy.case(pair.atlas).labels)
    assert (final.data == np.roll(atlas.data, 2, axis=0)).all()


def test_resume_computes_nothing_twice_and_repeats_the_numbers(toy, tmp_path, copying):
    first = run(toy, settings(toy), tmp_path / "out", isolate=False)
    again = run(toy, settings(toy), tmp_path / "out", isolate=False)
    assert len(copying) == 3
    assert again.resumed == 3
    assert rows(again) == rows(first)


def test_resume_after_a_kill_half_way(toy, tmp_path, copying, monkeypatch):
    inner, done_before = PROCEDURES["pipeline"], []

    def dies(job):
        if len(done_before) == 2:
            raise KeyboardInterrupt
        done_before.append(job)
        return inner(job)

    monkeypatch.setitem(PROCEDURES, "pipeline", dies)
    with pytest.raises(KeyboardInterrupt):
        run(toy, settings(toy), tmp_path / "out", isolate=False)
    monkeypatch.setitem(PROCEDURES, "pipeline", inner)
    copying.clear()
    done = run(toy, settings(toy), tmp_path / "out", isolate=False)
    assert len(copying) == 1
    assert done.resumed == 2
    fresh = run(toy, settings(toy), tmp_path / "fresh", isolate=False)
    assert [r.metrics for r in rows(done)] == [r.metrics for r in rows(fresh)]


@pytest.mark.parametrize("damage", ["truncate", "other key", "not json"])
def test_a_damaged_record_is_computed_again(toy, tmp_path, copying, damage):
    run(toy, settings(toy), tmp_path / "out", isolate=False)
    path = sorted((tmp_path / "out" / "cases").iterdir())[0]
    text = path.read_text()
    key = json.loads(text)["key"]
    path.write_text({"truncate": text[:100], "other key": text.replace(key, "0" * 16), "not json": "[]"}[damage])
    run(toy, settings(toy), tmp_path / "out", isolate=False)
    assert len(copying) == 4
    assert json.loads(path.read_text())["key"] == key


def test_anything_that_decides_numbers_starts_anew(toy, tmp_path, copying, make_dataset):
    out = tmp_path / "out"
    base = settings(toy)
    run(toy, base, out, isolate=False)
    for changed in (
        Settings(base.methods, base.labels, base.plan, seed=1),
        Settings(base.methods, base.labels, base.plan, tolerance_mm=1.0),
        Settings(base.methods, {1: "first box"}, base.plan),
        Settings((PRESETS["gate"],), base.labels, base.plan),
        # Under the old name, as when a preset has changed.
        Settings((replace(PRESETS["default"], fusion="gate"),), base.labels, base.plan),
        Settings((replace(PRESETS["default"], registration_options=(("voxels", 9),)),), base.labels, base.plan),
        Settings((parse_method("default+registration=voxelmorph+registration.iterations=5"),), base.labels, base.plan),
        Settings((parse_method("default+registration=voxelmorph+registration.iterations=6"),), base.labels, base.plan),
    ):
        copying.clear()
        run(toy, changed, out, isolate=False)
        assert len(copying) == 3
    # Another scan under an old name: the pair with it starts anew, the others stay.
    copying.clear()
    query = base.plan.pairs[0].query
    path = toy.case(query).image
    path.write_bytes(toy.case(base.plan.pairs[1].query).image.read_bytes())
    run(Dataset.load(toy.folder), base, out, isolate=False)
    assert len(copying) == 1


def test_another_device_starts_anew(toy, tmp_path, copying, monkeypatch):
    """A GPU rounds otherwise, and the paper's network works on a finer copy there."""
    run(toy, settings(toy), tmp_path / "out", isolate=False)
    monkeypatch.setattr(runner, "resolve_device", lambda device: "cuda")
    found = run(toy, settings(toy), tmp_path / "out", isolate=False)
    assert (len(copying), found.settings.device, found.resumed) == (6, "cuda", 0)


def test_long_names_that_begin_alike_keep_their_own_predictions(toy, tmp_path, copying):
    start = "default+registration=voxelmorph+registration.learning_rate=0.001+registration.iterations="
    methods = tuple(parse_method(f"{start}{n}") for n in (5, 6))
    done = run(toy, settings(toy, methods), tmp_path / "out", isolate=False)
    paths = [record.output("final").prediction for record in done.records.values()]
    assert len(set(paths)) == len(paths) == 6
    assert all((tmp_path / "out" / path).exists() for path in paths)


def test_failures_count_as_the_worst_and_are_listed(toy, tmp_path, copying, monkeypatch):
    inner = PROCEDURES["pipeline"]
    bad = settings(toy).plan.pairs[1]

    def fails(job):
        if np.array_equal(job.query.data, read_image_data(toy, bad.query)):
            raise RegistrationError("no alignment")
        return inner(job)

    monkeypatch.setitem(PROCEDURES, "pipeline", fails)
    done = run(toy, settings(toy), tmp_path / "out", isolate=False)
    failed = [r for r in rows(done) if r.status == "failed"]
    assert len(failed) == 3 * 2  # three methods, two labels
    diagonal = float(np.linalg.norm(np.array([20, 18, 16]) * [1.5, 1.5, 2.0]))
    for row in failed:
        assert (row.query, row.metrics["dice"], row.metrics["nsd"], row.metrics["cldice"]) == (bad.query, 0, 0, 0)
        assert row.metrics["hd95"] == row.metrics["assd"] == pytest.approx(diagonal)
        assert row.metrics["volume_difference_percent"] == -100
    assert [f["error"] for f in failures(done)] == ["no alignment"] * 3
    # A failure is tried again, a success is not.
    copying.clear()
    monkeypatch.setitem(PROCEDURES, "pipeline", inner)
    again = run(toy, settings(toy), tmp_path / "out", isolate=False)
    assert len(copying) == 1
    assert failures(again) == []


def read_image_data(dataset, case_id):
    from atlassegfm.io import read_image

    return read_image(dataset.case(case_id).image).data


def test_an_unexpected_error_is_a_failure_with_its_traceback_kept(toy, tmp_path, monkeypatch):
    def breaks(job):
        return {}["nothing"]

    monkeypatch.setitem(PROCEDURES, "pipeline", breaks)
    done = run(toy, settings(toy), tmp_path / "out", isolate=False)
    record = done.records[done.settings.plan.pairs[0], "default"]
    assert record.error == "KeyError: 'nothing'"
    assert "breaks" in record.facts["traceback"]


def test_an_unreadable_scan_fails_its_pairs_only(toy, tmp_path, copying):
    chosen = settings(toy)
    toy.case(chosen.plan.pairs[0].query).image.write_bytes(b"no image")
    done = run(toy, chosen, tmp_path / "out", isolate=False)
    assert {f["query"] for f in failures(done)} == {chosen.plan.pairs[0].query}
    assert sum(r.status == "ok" for r in rows(done)) == 2 * 3 * 2


def test_an_unreadable_truth_counts_as_zero_overlap_for_every_label(toy, tmp_path, copying):
    chosen = settings(toy)
    toy.case(chosen.plan.pairs[0].query).labels.write_bytes(b"no labels")
    failed = [r for r in rows(run(toy, chosen, tmp_path / "out", isolate=False)) if r.status == "failed"]
    assert {r.label for r in failed} == {1, 2, 7}
    assert {r.metrics["dice"] for r in failed} == {0.0}


def test_a_truth_on_another_grid_is_refused(toy, tmp_path, copying):
    from atlassegfm.io import read_image, write_labels
    from atlassegfm.volume import Grid, Volume

    chosen = settings(toy)
    case = toy.case(chosen.plan.pairs[0].query)
    labels = read_labels(case.labels)
    grid = Grid(labels.grid.shape, labels.affine @ np.diag([1, 1, 1.2, 1]))
    case.labels.unlink()
    write_labels(case.labels, Volume(labels.data, grid), Volume(read_image(case.image).data, grid))
    done = run(toy, chosen, tmp_path / "out", isolate=False)
    assert "not on the grid of its image" in failures(done)[0]["error"]


def test_processes_give_the_numbers_of_one_process(toy, tmp_path, copying):
    alone = run(toy, settings(toy), tmp_path / "alone", isolate=False)
    texts = []
    many = run(
        toy,
        settings(toy),
        tmp_path / "many",
        jobs=2,
        start="fork",
        progress=lambda done, total, text: texts.append((done, total)),
    )
    assert [r.metrics for r in rows(many)] == [r.metrics for r in rows(alone)]
    assert texts == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_so_many_pairs_at_a_time_as_asked(toy, tmp_path, copying, monkeypatch):
    inner, notes = PROCEDURES["pipeline"], tmp_path / "notes"
    notes.mkdir()

    def waits_for_a_second(job):
        (notes / str(os.getpid())).touch()
        deadline = time.monotonic() + 30
        while len(list(notes.iterdir())) < 2:
            assert time.monotonic() < deadline, "nobody else is at work"
            time.sleep(0.01)
        return inner(job)

    monkeypatch.setitem(PROCEDURES, "pipeline", waits_for_a_second)
    done = run(toy, settings(toy), tmp_path / "out", jobs=2, start="fork")
    assert failures(done) == []


def test_progress_counts_what_was_there_before(toy, tmp_path, copying):
    texts = []
    run(toy, settings(toy, limit=1, folds=2), tmp_path / "out", isolate=False)
    counts = {"progress": lambda done, total, text: texts.append((done, total))}
    run(toy, settings(toy, folds=2), tmp_path / "out", isolate=False, **counts)
    assert texts == [(2, 4), (3, 4), (4, 4)]


def test_a_process_that_dies_costs_its_pair_only(toy, tmp_path, copying, monkeypatch):
    inner = PROCEDURES["pipeline"]
    bad = read_image_data(toy, settings(toy).plan.pairs[2].query)

    def dies(job):
        if np.array_equal(job.query.data, bad):
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(job)

    monkeypatch.setitem(PROCEDURES, "pipeline", dies)
    done = run(toy, settings(toy), tmp_path / "out", start="fork")
    assert len(failures(done)) == 3
    assert "out of memory" in failures(done)[0]["error"]
    assert sum(r.status == "ok" for r in rows(done)) == 12


KILLED = """
import os, sys, time
from pathlib import Path
from atlassegfm.evaluation.baselines import PROCEDURES
from atlassegfm.evaluation.dataset import Dataset
from atlassegfm.evaluation.methods import PRESETS
from atlassegfm.evaluation.protocol import plan
from atlassegfm.evaluation.runner import Settings, run

def sleeps(job):
    Path(sys.argv[2]).write_text(str(os.getpid()))
    time.sleep(60)

PROCEDURES["pipeline"] = sleeps
dataset = Dataset.load(sys.argv[1])
settings = Settings((PRESETS["default"],), dataset.labels, plan(dataset.ids, folds=3))
run(dataset, settings, Path(sys.argv[3]), start="fork")
"""


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie has ended; it only waits for somebody to ask for its exit code.
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_killed_evaluation_leaves_no_process_behind(toy, tmp_path):
    note = tmp_path / "pid"
    parent = subprocess.Popen([sys.executable, "-c", KILLED, toy.folder, note, tmp_path / "out"])
    deadline = time.monotonic() + 60
    while not (note.exists() and note.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    child = int(note.read_text())
    assert alive(child)
    parent.kill()
    parent.wait()
    while alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(child)


def test_peak_memory_is_that_of_the_run(toy, tmp_path, copying, monkeypatch):
    inner = PROCEDURES["pipeline"]

    def hungry(job):
        with mmap.mmap(-1, 320_000_000) as block:  # no allocator could have kept these pages from before
            for page in range(0, len(block), mmap.PAGESIZE):
                block[page] = 1
            return inner(job)

    run(toy, settings(toy), tmp_path / "lean", start="fork")
    monkeypatch.setitem(PROCEDURES, "pipeline", hungry)
    done = run(toy, settings(toy), tmp_path / "hungry", start="fork")
    lean = run(toy, settings(toy), tmp_path / "lean", start="fork")
    extra = rows(done)[0].peak_mb - rows(lean)[0].peak_mb
    assert 250 < extra < 450


def test_bad_numbers_and_folders(toy, tmp_path):
    with pytest.raises(InputError, match="--jobs"):
        run(toy, settings(toy), tmp_path / "out", jobs=0)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made a folder"):
        run(toy, settings(toy), tmp_path / "file")


def test_records_survive_json_with_nan(tmp_path):
    from atlassegfm.evaluation.records import Output

    record = Record("k", "a", "q", "r", outputs={"final": Output({3: {"dice": 0.5, "x": float("nan")}}, 1.5, "p")})
    record.write(tmp_path / "r.json")
    assert "NaN" not in (tmp_path / "r.json").read_text()
    back = Record.read(tmp_path / "r.json", "k")
    assert back.outputs["final"].labels[3]["dice"] == 0.5
    assert np.isnan(back.outputs["final"].labels[3]["x"])
    assert Record.read(tmp_path / "r.json", "other") is None
    assert Record.read(tmp_path / "missing.json", "k") is None
