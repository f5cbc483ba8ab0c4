"""What every preparation checks: cases, archives, targets."""

import json
import shutil
import tarfile
import zipfile

import numpy as np
import pytest

from atlassegfm.errors import InputError
from atlassegfm.evaluation.dataset import Dataset
from atlassegfm.evaluation.prepare import SOURCES, prepare, source
from atlassegfm.volume import Grid


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as file:
        for entry in sorted(folder.rglob("*")):
            file.write(entry, entry.relative_to(folder.parent))
    return path


def btcv(tmp_path, scans, cases=3):
    root = tmp_path / "RawData"
    for n in range(1, cases + 1):
        scans.write_image(root / f"Training/img/img{n:04d}.nii.gz", n)
        scans.write_labels(root / f"Training/label/label{n:04d}.nii.gz", scans.labels(1, 6))
    return root


def test_everything_says_where_it_is_from_and_under_which_terms(tmp_path, scans):
    for entry in SOURCES.values():
        assert entry.licence, entry.name
        assert entry.citation, entry.name
        assert entry.home.startswith("http"), entry.name
        assert entry.hint, entry.name
    prepare(source("btcv"), btcv(tmp_path, scans), tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert "Synapse" in facts["licence"]
    assert "Landman" in facts["citation"]


def test_limit_and_progress(tmp_path, scans):
    told = []
    prepare(source("btcv"), btcv(tmp_path, scans), tmp_path / "out", limit=2, progress=lambda *a: told.append(a))
    assert Dataset.load(tmp_path / "out").ids == ("case_0001", "case_0002")
    assert told == [(0, 2, "case_0001"), (1, 2, "case_0002")]


def test_an_empty_case_is_left_out_with_a_notice(tmp_path, scans):
    root = btcv(tmp_path, scans)
    scans.write_labels(root / "Training/label/label0002.nii.gz", scans.labels())
    found = prepare(source("btcv"), root, tmp_path / "out")
    assert Dataset.load(tmp_path / "out").ids == ("case_0001", "case_0003")
    assert found.cases == 2
    assert "case_0002: left out, its label map is empty" in found.notices


def other_grid(scans):
    return Grid(scans.grid.shape, scans.grid.affine @ np.diag([1, 1, 1.1, 1]))


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f, s: s.write_labels(f / "label/label0002.nii.gz", s.labels(1, 77)), "unknown label value 77"),
        (lambda f, s: s.write_labels(f / "label/label0002.nii.gz", s.labels(1), other_grid(s)), "other grids"),
        (lambda f, s: (f / "img/img0003.nii.gz").write_bytes(b"broken"), "img0003.nii.gz"),
        (lambda f, s: shutil.rmtree(f / "label"), "no labelled case of BTCV"),
    ],
)
def test_broken_sources_leave_nothing_behind(tmp_path, scans, break_it, message):
    root = btcv(tmp_path, scans)
    break_it(root / "Training", scans)
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(InputError, match=message) as caught:
        prepare(source("btcv"), root, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_bad_names_sources_and_targets(tmp_path, scans):
    root = btcv(tmp_path, scans)
    with pytest.raises(InputError, match="no data set 'brats'; expected one of chaos"):
        source("brats")
    with pytest.raises(InputError, match="no such file or folder"):
        prepare(source("btcv"), tmp_path / "nowhere.zip", tmp_path / "out")
    (tmp_path / "file.txt").write_text("x")
    with pytest.raises(InputError, match="expected a folder or an archive"):
        prepare(source("btcv"), tmp_path / "file.txt", tmp_path / "out")
    (tmp_path / "cut.zip").write_bytes(zipped(root, tmp_path / "whole.zip").read_bytes()[:500])
    with pytest.raises(InputError, match="damaged or incomplete"):
        prepare(source("btcv"), tmp_path / "cut.zip", tmp_path / "out")
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thing").write_text("mine")
    with pytest.raises(InputError, match="is in use"):
        prepare(source("btcv"), root, tmp_path / "used")
    assert (tmp_path / "used" / "thing").read_text() == "mine"
    shutil.copytree(root / "Training", root / "copy")
    with pytest.raises(InputError, match="more than once"):
        prepare(source("btcv"), root, tmp_path / "out")


def test_archives_cannot_write_elsewhere(tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as file:
        file.writestr("../outside.txt", "x")
    with pytest.raises(InputError, match="outside the folder"):
        prepare(source("btcv"), tmp_path / "bad.zip", tmp_path / "sub" / "out")
    (tmp_path / "x").write_text("x")
    with tarfile.open(tmp_path / "bad.tar", "w") as file:
        file.add(tmp_path / "x", "../outside.txt")
    with pytest.raises(InputError, match="outside the folder"):
        prepare(source("btcv"), tmp_path / "bad.tar", tmp_path / "sub" / "out")
    assert not list(tmp_path.rglob("outside.txt"))
