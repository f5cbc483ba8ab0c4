"""The example package: installed as users would, its model is listed, described and run by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from atlassegfm.demo import write_pair
from atlassegfm.phantom import make_pair

EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "atlassegfm-threshold"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> dict[str, str]:
    """Environment in which the example is installed (in a folder of its own, which leaves this one as it is)."""
    site = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source")
    # Building writes into the source tree.
    subprocess.run(["cp", "-r", str(EXAMPLE), str(source)], check=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--target", str(site), str(source / EXAMPLE.name)], capture_output=True, encoding="utf-8"
    )
    assert done.returncode == 0, done.stderr
    return os.environ | {
        "PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    }


def atlassegfm(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "atlassegfm.cli", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, encoding="utf-8")


def test_it_is_listed_and_described(installed):
    rows = {row["name"]: row for row in json.loads(atlassegfm(installed, "models", "list", "--json").stdout)}
    assert rows["threshold"]["options"] == ["reach_mm"]
    assert "example of a model" in atlassegfm(installed, "models", "info", "threshold").stdout
    assert "threshold" in " ".join(atlassegfm(installed, "segment", "--help").stdout.split())


def test_it_segments_by_name_and_the_report_says_so(installed, tmp_path):
    write_pair(make_pair(0, shape=(40, 34, 27), spacing=(6.0, 6.0, 7.0)), tmp_path)
    scans = ("--atlas", tmp_path / "atlas.nii.gz", "--labels", tmp_path / "atlas_labels.nii.gz")
    more = ("--model", "threshold", "--model-option", "reach_mm=6", "--registration", "identity", "--device", "cpu")
    done = atlassegfm(installed, "segment", tmp_path / "query.nii.gz", *scans, "-o", tmp_path / "out", *more)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "out" / "query_report.json").read_text(encoding="utf-8"))
    assert report["model"]["name"] == "threshold"
    assert report["model"]["licence"] == "Apache-2.0"
    assert report["model"]["reach_mm"] == 6.0
    assert report["parameters"]["model_options"] == {"reach_mm": 6.0}


def test_its_options_are_checked(installed, tmp_path):
    done = atlassegfm(
        installed, "segment", "x.nii.gz", "--atlas", "x", "--labels", "x", "-o", tmp_path / "out",
        "--model", "threshold", "--model-option", "reach_mm=-1",
    )  # fmt: skip
    assert done.returncode == 2
    assert "option reach_mm: expected 0 mm or more, got -1.0" in done.stderr


def test_without_it_the_name_is_unknown(tmp_path):
    done = atlassegfm(dict(os.environ), "models", "info", "threshold")
    assert done.returncode == 2
    assert "threshold" in done.stderr
