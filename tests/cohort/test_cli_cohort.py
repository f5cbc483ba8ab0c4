"""`atlassegfm segment` on folders, globs and tables."""

import io
import json
import os
import re
import shlex
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from atlassegfm.cli import app
from spoilt import FAULTY

pytestmark = pytest.mark.skipif(os.name == "nt", reason="forks")


def segment(scans, *words):
    atlas = ("--atlas", scans.settings.atlas, "--labels", scans.settings.labels, "-o", scans.out)
    return CliRunner().invoke(app, ["segment", *map(str, (*words, *atlas))])


def test_a_folder_is_a_cohort_told_line_by_line(scans, spoilt_pipeline):
    for name in ("a", "b"):
        scans.query(name)
    result = segment(scans, scans.folder, "--jobs", 1)
    assert result.exit_code == 0, result.stderr
    lines = [dict(word.split("=", 1) for word in shlex.split(line)) for line in result.stderr.splitlines()]
    assert [(line["done"], line["total"], line["name"]) for line in lines] == [("1", "2", "a"), ("2", "2", "b")]
    assert float(lines[0]["left"]) >= float(lines[1]["left"]) == 0
    assert {path.name for path in scans.out.iterdir() if not path.name.startswith(".")} == {
        "index.html", "summary.csv", "cohort.json",
        *(f"{name}_{end}" for name in "ab" for end in ("seg.nii.gz", "qc.png", "report.json")),
    }  # fmt: skip
    assert "2 of 2 scans" in result.stdout
    again = segment(scans, str(scans.folder / "*.nii.gz"), "--json")
    assert json.loads(again.stdout)["resumed"] == 2
    assert again.stderr == ""


def test_a_terminal_shows_one_bar_one_line_per_running_scan_counts_and_failures(monkeypatch):
    from atlassegfm import cli_cohort, cli_display
    from atlassegfm.cohort.records import CaseRecord

    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120, color_system=None)
    monkeypatch.setattr(cli_display, "_stderr", lambda: console)
    monkeypatch.setattr("sys.stderr", SimpleNamespace(isatty=lambda: True))
    label = {"value": 1, "name": "liver", "volume_ml": 1.0, "quality": {"word": "good"}}
    with cli_cohort.CohortProgress(quiet=False) as progress:
        progress.planned(4, [CaseRecord("before", "before.nii", "key", labels=[label])], False)
        progress.step("one", "registration")
        progress.step("two", "read")
        progress.ended(CaseRecord("one", "one.nii", "key", labels=[label]))
        progress.warned("no worker")
        progress.ended(CaseRecord("two", "two.nii", "key", error="it is [empty]"))
        progress._bar.refresh()
        lines = [line.rstrip() for line in shown.getvalue().splitlines()]
        assert progress._left() > 0
    assert any("1 good, 0 check, 0 do not use, 0 failed" in line and "1/4" in line for line in lines)
    assert any(re.search(r"one: registration .*0:00:0", line) and "/" not in line for line in lines)
    assert any("2 good, 0 check, 0 do not use, 1 failed" in line and "3/4" in line for line in lines)
    assert any("failed: two: it is [empty]" in line for line in lines)
    assert any("warning: no worker" in line for line in lines)


def test_some_failed_is_exit_code_3_and_all_failed_2(scans, spoilt_pipeline):
    scans.query("bad", FAULTY)
    assert segment(scans, scans.folder, "--jobs", 1).exit_code == 2
    scans.query("good")
    result = segment(scans, scans.folder)
    assert result.exit_code == 3
    assert "1 of 2 queries failed" in result.stderr
    assert "bad: unexpected ValueError" in result.stderr
    scans.query("bad")
    assert segment(scans, scans.folder, "--retry-failed").exit_code == 0


def test_a_table_with_names(scans, spoilt_pipeline):
    scans.query("a")
    (scans.folder / "list.csv").write_text("query,name\na.nii.gz,first\n")
    assert segment(scans, scans.folder / "list.csv").exit_code == 0
    assert (scans.out / "first_seg.nii.gz").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [(("--jobs", "some"), "--jobs: expected auto"), (("--only", "7"), "7, which do not occur")],
)
def test_bad_input_is_one_line_before_anything_is_computed(scans, spoilt_pipeline, more, words):
    scans.query("a")
    result = segment(scans, scans.folder, *more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not list(scans.out.iterdir()) if scans.out.exists() else True


def test_results_do_not_overwrite_queries(scans, spoilt_pipeline):
    scans.query("a")
    scans.query("a_seg")
    scans.out = scans.folder
    result = segment(scans, scans.folder / "a*.nii.gz")
    assert result.exit_code == 2
    assert "would be overwritten" in result.stderr


def test_overlapping_masks_of_a_cohort_are_found_again(scans, spoilt_pipeline):
    scans.query("a")
    options = (scans.folder, "--jobs", 1, "--overlapping", "--uncertainty", "--json")
    first = json.loads(segment(scans, *options).stdout)
    assert first["resumed"] == 0
    written = {path.name for path in scans.out.glob("*.nii.gz")}
    assert written == {"a_seg_liver.nii.gz", "a_seg_spleen.nii.gz", "a_uncertainty.nii.gz"}
    assert json.loads(segment(scans, *options).stdout)["resumed"] == 1
    (scans.out / "a_seg_liver.nii.gz").unlink()
    assert json.loads(segment(scans, *options).stdout)["resumed"] == 0
