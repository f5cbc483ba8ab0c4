"""The evaluate command through the real command line, registering for real in processes of their own."""

import csv
import json

import pytest
from typer.testing import CliRunner

from atlassegfm.cli import app
from atlassegfm.evaluation.baselines.pipeline_run import ATLAS_STEPS
from atlassegfm.evaluation.ladders import LADDERS, Ladder, Rung
from atlassegfm.evaluation.methods import Method
from atlassegfm.models.registry import MODELS

GONE = Rung("Warp", Method("warp alone", registration="warp-drive", model="none"))


def evaluate(*arguments):
    return CliRunner().invoke(app, ["evaluate", *map(str, arguments)])


def results(folder):
    with (folder / "results.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_evaluate_end_to_end_and_again(toy, tmp_path):
    out = tmp_path / "out"
    arguments = (
        toy.folder,
        "-o",
        out,
        "--methods",
        "rigid,identity",
        "--atlas-ids",
        "case_0",
        "--limit",
        2,
        "--jobs",
        2,
    )
    first = evaluate(*arguments)
    assert first.exit_code == 0, first.output
    assert "report.html" in first.output
    for name in ("results.csv", "summary.json", "summary.md", "report.html"):
        assert (out / name).stat().st_size > 0
    rows = results(out)
    assert len(rows) == 2 * 2 * 2
    assert {(r["atlas"], r["query"]) for r in rows} == {("case_0", "case_1"), ("case_0", "case_2")}
    assert {r["status"] for r in rows} == {"ok"}, json.loads((out / "summary.json").read_text(encoding="utf-8"))[
        "failures"
    ]
    mean = {m: sum(float(r["dice"]) for r in rows if r["method"] == m) / 4 for m in ("rigid", "identity")}
    # The boxes lie one and two voxels further on; trusting the headers can't be right, shifting can.
    assert mean["rigid"] > mean["identity"] + 0.1
    assert 20 < float(rows[0]["peak_mb"]) < 5000
    # The pipeline's step names, which the time to each label map is made of.
    record = json.loads(next((out / "cases").glob("*__rigid__*")).read_text(encoding="utf-8"))
    assert set(ATLAS_STEPS) <= set(record["facts"]["steps"])
    before = {p.name: p.stat().st_mtime_ns for p in (out / "cases").iterdir()}
    again = evaluate(*arguments)
    assert again.exit_code == 0
    assert {p.name: p.stat().st_mtime_ns for p in (out / "cases").iterdir()} == before
    assert results(out) == rows


def test_lists():
    assert "registration alone" in evaluate("anything", "-o", "x", "--methods", "list").output
    assert "Table 4" in evaluate("anything", "-o", "x", "--ladder", "list").output


def test_the_list_says_what_is_not_here(monkeypatch):
    monkeypatch.delitem(MODELS, "vesselfm", raising=False)
    lines = evaluate("anything", "-o", "x", "--methods", "list").output.splitlines()
    vessels = next(line for line in lines if line.startswith("paper-vessels "))
    assert vessels.endswith("[not here: needs the model vesselfm]")
    assert not any("not here" in line for line in lines if line.startswith(("default ", "registration ", "builtin-5 ")))


def test_a_ladder_names_what_it_leaves_out(toy, tmp_path, monkeypatch):
    """Rows that cannot run are told on the terminal and stand in every table with their reason."""
    monkeypatch.setitem(LADDERS, "short", Ladder("Short", lambda base: [*LADDERS["table7"].rungs(base)[:2], GONE]))
    out = tmp_path / "out"
    told = ("--ladder", "short", "--atlas-ids", "case_0", "--limit", 1)
    result = evaluate(toy.folder, "-o", out, *told)
    assert result.exit_code == 0, result.output
    reason = "not run: Warp (needs the registration warp-drive)"
    assert reason in " ".join(result.output.split())
    for name in ("summary.md", "report.html"):
        assert reason in (out / name).read_text(encoding="utf-8"), name
    assert json.loads((out / "summary.json").read_text())["left_out"] == {"Warp": "the registration warp-drive"}
    page = (out / "ladder_short.md").read_text(encoding="utf-8")
    assert "| Warp | not run |" in page
    assert "- Warp: needs the registration warp-drive" in page
    assert [r["method"] for r in results(out)] == ["identity alone"] * 2 + ["rigid alone"] * 2


def test_nothing_but_failures_is_an_error(toy, tmp_path):
    for case in toy.cases[1:]:
        case.image.write_bytes(b"no image")
    result = evaluate(toy.folder, "-o", tmp_path / "out", "--methods", "identity", "--atlas-ids", "case_0")
    assert result.exit_code == 2
    assert "every pair failed" in result.stderr.splitlines()[-1]
    assert {r["dice"] for r in results(tmp_path / "out")} == {"0.000000"}


def test_some_failures_are_a_result(toy, tmp_path):
    toy.case("case_1").image.write_bytes(b"no image")
    result = evaluate(toy.folder, "-o", tmp_path / "out", "--methods", "identity", "--atlas-ids", "case_0")
    assert result.exit_code == 0
    assert "Failed: identity, case_0 -> case_1" in " ".join(result.output.split())
    assert "registrati…" not in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--labels", "1,x"], "--labels: expected whole numbers"),
        (["--labels", "3"], "no label 3"),
        (["--methods", "magic"], "no method 'magic'"),
        (["--methods", "paper-vessels"], "the method paper-vessels needs the model vesselfm"),
        (["--preset", "paper-vessels"], "the method paper-vessels needs the model vesselfm"),
        (["--methods", "vm-base+registration.speed=9"], "--methods: registration voxelmorph: no option 'speed'"),
        (["--preset", "vm-base+registration.voxels=x"], "--preset: option voxels: expected a whole number"),
        (["--device", "tpu"], "--device: expected one of auto, cpu, cuda, got 'tpu'"),
        (["--preset", "magic"], "--preset: no method 'magic'"),
        (["--ladder", "magic"], "no ladder 'magic'"),
        (["--ladder", "table7", "--methods", "default"], "exclude each other"),
        (["--atlas-ids", "nobody"], "no case 'nobody'"),
        (["--protocol", "magic"], "no protocol 'magic'"),
        (["--tolerance-mm", "-1"], "--tolerance-mm"),
        (["--jobs", "0"], "--jobs"),
    ],
)
def test_bad_options_are_one_line_and_code_2(toy, tmp_path, options, message, monkeypatch):
    monkeypatch.delitem(MODELS, "vesselfm", raising=False)
    result = evaluate(toy.folder, "-o", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert message in " ".join(result.output.split())
    assert not (tmp_path / "out").exists()


def test_a_missing_dataset_is_one_line_and_code_2(tmp_path):
    result = evaluate(tmp_path / "nowhere", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "no such folder" in " ".join(result.output.split())
