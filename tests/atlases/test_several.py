"""Several atlases through the command line and the pipeline, on synthetic patients."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from atlassegfm.atlas import Atlas
from atlassegfm.errors import InputError
from atlassegfm.io import read_image, read_labels, write_image, write_labels
from atlassegfm.overlap import dice
from atlassegfm.phantom import make_pair
from atlassegfm.pipeline import segment

SIZE = {"shape": (40, 34, 27), "spacing": (6.0, 6.0, 7.0)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three patients with labels as a folder of atlases, and a fourth without."""
    top = tmp_path_factory.mktemp("several")
    (top / "atlases" / "images").mkdir(parents=True)
    (top / "atlases" / "labels").mkdir()
    for seed in range(4):
        pair = make_pair(seed, **SIZE)
        if seed == 3:
            write_image(top / "query.nii.gz", pair.query)
            write_labels(top / "truth.nii.gz", pair.truth, pair.query, pair.names)
            continue
        write_image(top / "atlases" / "images" / f"p{seed}.nii.gz", pair.query)
        write_labels(top / "atlases" / "labels" / f"p{seed}.nii.gz", pair.truth, pair.query, pair.names)
    (top / "atlases" / "dataset.json").write_text(json.dumps({"labels": {str(v): n for v, n in pair.names.items()}}))
    return top


def run(*arguments: object, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "atlassegfm.cli", *(str(a) for a in arguments)]
    return subprocess.run(line, capture_output=True, encoding="utf-8", check=False, env={**os.environ, **(env or {})})


def pairs(folder: Path) -> list[object]:
    images = sorted((folder / "atlases" / "images").iterdir())
    return [word for p in images for word in ("--atlas", p, "--labels", folder / "atlases" / "labels" / p.name)]


def mean_dice(found: np.ndarray, folder: Path) -> float:
    truth = read_labels(folder / "truth.nii.gz").data
    return float(np.mean([dice(found == v, truth == v) for v in range(1, 6)]))


@pytest.fixture(scope="module")
def results(folder) -> Path:
    """What the command writes for the folder of atlases, with the trees as model."""
    options = ("--model", "builtin-trees", "-o", folder / "out")
    done = run("segment", folder / "query.nii.gz", "--atlas", folder / "atlases", *options)
    assert done.returncode == 0, done.stderr
    return folder / "out"


def test_several_beat_the_mean_of_each_alone(folder, results):
    query = read_image(folder / "query.nii.gz")
    alone = []
    for number in range(3):
        files = (folder / "atlases" / part / f"p{number}.nii.gz" for part in ("images", "labels"))
        alone.append(mean_dice(segment(Atlas.load(*files), query, model="none").labels.data, folder))
    found = mean_dice(read_labels(results / "query_seg.nii.gz").data, folder)
    assert found > np.mean(alone) + 0.03


def test_report_tells_of_every_atlas(results):
    report = json.loads((results / "query_report.json").read_text())
    assert [e["atlas"] for e in report["atlases"]["list"]] == [1, 2, 3]
    assert sum(e["used"] for e in report["atlases"]["list"]) >= 2
    assert sum(e["weight"] or 0 for e in report["atlases"]["list"]) == pytest.approx(1, abs=0.01)
    assert set(report["atlases"]["agreement"]) == set("12345")
    assert report["parameters"]["label_fusion"] == "joint"
    for number in (1, 2, 3):
        for part in ("image", "labels"):
            assert len(report["inputs"][f"atlas_{number}_{part}"]["sha256"]) == 64


def test_pairs_and_cohorts_give_what_the_folder_gives(folder, results):
    told = (folder / "query.nii.gz", "--model", "builtin-trees", "-o")
    done = run("segment", *told, folder / "pairs", *pairs(folder))
    assert done.returncode == 0, done.stderr
    expected = read_labels(results / "query_seg.nii.gz").data
    assert np.array_equal(read_labels(folder / "pairs" / "query_seg.nii.gz").data, expected)
    done = run("segment", *told, folder / "cohort", *pairs(folder), "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(read_labels(folder / "cohort" / "query_seg.nii.gz").data, expected)
    again = run("segment", *told, folder / "cohort", *pairs(folder), "--jobs", 1)
    assert "1 from before" in again.stdout
    other = run("segment", *told, folder / "cohort", *pairs(folder)[:8], "--jobs", 1)
    assert "from before" not in other.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--atlas", "p0", "--labels", "p0", "--atlas", "p1"], "got 1 for 2"),
        (["--atlas", "p0", "--labels", "p0", "--label-fusion", "joint"], "--label-fusion: is about several atlases"),
        (["--atlas", "p0", "--labels", "p0", "--most-atlases", "2"], "--most-atlases: is about several atlases"),
        (["--atlas", "p0", "--labels", "p0", "--atlas", "p1", "--labels", "p1", "--label-fusion", "x"], "joint"),
    ],
)
def test_options_that_do_not_fit_are_one_line(folder, tmp_path, arguments, said):
    words = [str(folder / "atlases" / "images" / f"{w}.nii.gz") if w in ("p0", "p1") else w for w in arguments]
    done = run("segment", folder / "query.nii.gz", *words, "-o", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_label_that_the_teacher_lacks_is_carried_over(folder):
    query = read_image(folder / "query.nii.gz")
    loaded = []
    for number in range(3):
        files = (folder / "atlases" / part / f"p{number}.nii.gz" for part in ("images", "labels"))
        # Each lacks another label.
        loaded.append(Atlas.load(*files, only=[v for v in range(1, 6) if v != number + 1]))
    result = segment(loaded, query, model="builtin-trees")
    assert sorted(result.names) == [1, 2, 3, 4, 5]
    assert set(np.unique(result.labels.data)) == {0, 1, 2, 3, 4, 5}
    teacher = next(e["atlas"] for e in result.report["atlases"]["list"] if e["taught_the_model"])
    name = result.names[teacher]
    assert any(f"{name}: carried over from the atlases alone" in text for text in result.warnings)
    with pytest.raises(InputError, match="unknown label fusion"):
        segment(loaded, query, label_fusion="vote")
    with pytest.raises(InputError, match="at least one atlas"):
        segment([], query)
