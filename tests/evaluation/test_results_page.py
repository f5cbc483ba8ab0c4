"""The page of results, from summaries that nobody measured; and the script that measures."""

import copy
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from atlassegfm.evaluation.results_page import GENERATED, Measured, results_page, shown_command, without_folders

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def summaries(evaluated):
    """Two sets measured with different code, one pair of the second failed for a reason with a path in it."""
    first = copy.deepcopy(evaluated[1])
    first["failures"] = []
    first["environment"] |= {
        "commit": "aaaa",
        "machine": "Linux x86_64, Abacus 9",
        "command": "atlassegfm evaluate ../somewhere/toy -o /home/me/build/toy --atlas-ids case_0 --labels 1,2",
    }
    second = copy.deepcopy(evaluated[1])
    second["dataset"]["name"] = "Other toy"
    second["environment"] |= {"commit": "bbbb", "machine": "Linux x86_64, Abacus 9"}
    second["failures"][0]["error"] = "/home/me/data/labels/case_1.nii.gz: not on the grid of its image"
    return first, second


@pytest.fixture
def page(summaries):
    return results_page([Measured("toy", summaries[0], "Abd-MR"), Measured("other", summaries[1]), Measured("absent")])


def section(page, title):
    return page.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_says_that_it_is_generated_and_from_what(page, summaries):
    assert page.startswith(GENERATED)
    code = f"atlassegfm {summaries[0]['environment']['atlassegfm']}"
    assert f"- Code: {code}, commit aaaa (toy); {code}, commit bbbb (other)" in page
    assert page.count("Abacus 9") == 1  # the same for all sets: told once
    assert f"numpy {summaries[0]['environment']['packages']['numpy']}" in page
    assert "Not measured: absent." in page


def test_overview_and_sections_hold_the_numbers_of_the_summaries(page, summaries):
    dice = summaries[0]["overall"]["default"]["dice"]
    text = f"{dice['mean']:.3f} ± {dice['sd']:.3f}"
    overview, toy = section(page, "Overview"), section(page, "Toy")
    assert overview.count(text) == 2  # both sets have the same numbers
    assert "| Toy | 4 | 2 |" in overview
    assert text in toy
    assert "| first box (1) | 4 |" in toy
    assert "**Notice:** in no atlas and no truth, so not scored: nowhere" in toy
    pairs = summaries[0]["protocol"]["pairs"]
    assert f"{pairs[0][1]} to {pairs[0][2]}, {pairs[1][2]}; " in toy


def test_failures_are_counted_and_listed(page):
    rows = [line for line in section(page, "Overview").splitlines() if line.startswith("| ")]
    assert rows[-2].endswith("| 0 |")
    assert rows[-1].endswith("| 1 |")
    assert "Failures:" not in section(page, "Toy")
    assert "| case_1.nii.gz: not on the grid of its image |" in section(page, "Other toy")


def test_printed_numbers_are_marked_and_only_where_the_paper_has_such_data(page):
    assert "Printed in the paper" in section(page, "Toy")
    assert "registration alone 70.21, full method 81.22" in section(page, "Toy")
    assert "Printed in the paper" not in section(page, "Other toy")


def test_no_folders_and_no_pictures(page):
    assert "/home/me" not in page
    assert "somewhere" not in page
    assert "`atlassegfm evaluate toy -o toy --atlas-ids case_0 --labels 1,2`" in page
    assert "![" not in page
    assert "<img" not in page


def test_without_any_summary_the_page_says_so():
    text = results_page([Measured("toy"), Measured("other")])
    assert text.startswith(GENERATED)
    assert "Not measured: toy, other." in text
    assert "## " not in text


def test_one_pair_has_no_spread(summaries):
    summary = summaries[0]
    for found in (summary["overall"]["default"]["dice"], summary["overall"]["model"]["dice"]):
        found |= {"n": 1, "sd": 0.0, "p": 1.0}
    toy = section(results_page([Measured("toy", summary)]), "Toy")
    mean = f"{summary['overall']['model']['dice']['mean']:.3f}"
    assert f"| model | 1 | {mean} | – | {summary['overall']['model']['dice']['median']:.3f} | – | – |" in toy
    assert f"| model | 4 | 0 | {mean} |" in toy


def test_paths_are_cut_down():
    assert shown_command("a evaluate /x/y/set -o ../out/set --labels 1,2") == "a evaluate set -o set --labels 1,2"
    assert without_folders("../a/b.nii.gz: no 1/2 of it") == "b.nii.gz: no 2 of it"
    assert without_folders("killed, most likely out of memory") == "killed, most likely out of memory"


def script():
    spec = importlib.util.spec_from_file_location("results_script", ROOT / "benchmarks" / "results.py")
    module = importlib.util.module_from_spec(spec)
    # The data class of the script looks itself up by its module's name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_commands_are_such_that_evaluate_takes(tmp_path):
    from typer.testing import CliRunner

    from atlassegfm.cli import app
    from atlassegfm.evaluation.methods import parse_methods

    results = script()
    assert parse_methods(results.METHODS)[0].name == "default"
    for wanted in results.SETS:
        line = results.command(wanted, ROOT.parent / "shared" / "data", ROOT / "build" / "results", results.METHODS)
        assert line[2] == f"../shared/data/{wanted.name}"
        assert line[4] == f"build/results/{wanted.name}"
        # All options are known: what is wrong is the folder, which is not there.
        done = CliRunner().invoke(app, ["evaluate", str(tmp_path / "nowhere"), *line[3:]])
        assert done.exit_code == 2
        assert "no such folder" in " ".join(done.output.split())


def test_the_script_writes_the_page_from_what_is_there(tmp_path, summaries):
    for name, summary in zip(("hippocampus", "heart-mr"), summaries, strict=True):
        (tmp_path / "out" / name).mkdir(parents=True)
        (tmp_path / "out" / name / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    page = tmp_path / "results.md"
    line = [sys.executable, ROOT / "benchmarks" / "results.py", "--page-only"]
    done = subprocess.run([*line, "--out", tmp_path / "out", "--page", page], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert "## Toy" in text
    assert "## Other toy" in text
    assert "Not measured: abdomen-mr, abdomen-ct, brain-mr." in text


def test_the_page_in_the_documentation_is_a_generated_one():
    assert (ROOT / "docs" / "results.md").read_text(encoding="utf-8").startswith(GENERATED)
