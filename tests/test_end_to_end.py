"""The installed command on files, from outside: what it writes, that it repeats itself, and how it meets bad input."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from atlassegfm.demo import DemoFiles, write_pair
from atlassegfm.phantom import NAMES, make_pair

COMMAND = Path(sys.executable).parent / "atlassegfm"
#: Three of the phantom's labels are enough, and quicker.
LABELS = {value: NAMES[value] for value in (1, 3, 4)}
DAMAGED = ("missing", "text", "truncated", "nan", "constant", "flat", "collapsed")


def run(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), *map(str, arguments)], cwd=cwd, capture_output=True, encoding="utf-8", check=False, timeout=300
    )


@pytest.fixture(scope="module")
def scans(tmp_path_factory) -> DemoFiles:
    """The demo's pair on a coarse grid; the query gets a header that a careless writer would lose."""
    files = write_pair(
        make_pair(0, shape=(40, 34, 27), spacing=(6.0, 6.0, 7.0)), tmp_path_factory.mktemp("scans") / "in"
    )
    image = nib.load(files.query)
    affine = image.affine.copy()
    affine[:3, 3] += (0.1, 1 / 3, -2.7)
    header = image.header.copy()
    header.set_xyzt_units("mm", "sec")
    rewritten = nib.Nifti1Image(np.asanyarray(image.dataobj), affine, header)
    rewritten.set_sform(affine, code=2)
    rewritten.set_qform(affine, code=1)
    nib.save(rewritten, files.query)
    return files


def atlas_options(scans: DemoFiles) -> tuple[object, ...]:
    return ("--atlas", scans.atlas, "--labels", scans.labels)


@pytest.fixture(scope="module")
def results(scans, tmp_path_factory) -> tuple[Path, Path]:
    """The output folders of two identical runs."""
    folders = tmp_path_factory.mktemp("first") / "out", tmp_path_factory.mktemp("second") / "out"
    for folder in folders:
        done = run("segment", scans.query, *atlas_options(scans), "--only", "1,3,4", "-o", folder)
        assert done.returncode == 0, done.stderr
        assert "liver" in done.stdout
    return folders


def test_three_files_and_nothing_else(results):
    assert sorted(p.name for p in results[0].iterdir()) == ["query_qc.png", "query_report.json", "query_seg.nii.gz"]


def test_label_map_lies_on_the_query_grid_to_the_bit(results, scans):
    made, query = nib.load(results[0] / "query_seg.nii.gz"), nib.load(scans.query)
    assert made.shape == query.shape
    assert made.affine.tobytes() == query.affine.tobytes()
    for field in ("srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x", "sform_code", "qform_code", "xyzt_units"):
        assert made.header[field].tobytes() == query.header[field].tobytes(), field
    assert made.get_data_dtype() == np.uint8
    assert set(np.unique(made.dataobj)) <= {0, *LABELS}


def test_result_resembles_the_truth(results, scans):
    made, truth = (np.asanyarray(nib.load(p).dataobj) for p in (results[0] / "query_seg.nii.gz", scans.truth))
    dice = [2 * np.sum((made == v) & (truth == v)) / (np.sum(made == v) + np.sum(truth == v)) for v in LABELS]
    assert np.mean(dice) > 0.6


def test_same_command_same_bytes(results):
    first, second = results
    for name in ("query_seg.nii.gz", "query_qc.png"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    reports = [json.loads((folder / "query_report.json").read_text()) for folder in results]
    for report in reports:
        assert report.pop("timings")
    assert reports[0] == reports[1]


def test_report_names_every_label(results):
    report = json.loads((results[0] / "query_report.json").read_text())
    assert {entry["value"]: entry["name"] for entry in report["labels"]} == LABELS
    for entry in report["labels"]:
        assert entry["volume_ml"] >= 0
        assert entry["quality"]["word"]


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0], lines[0]
    assert done.stdout == ""


def save(path: Path, data: np.ndarray, affine: np.ndarray | None = None) -> Path:
    nib.save(nib.Nifti1Image(data, np.diag([5.0, 5.0, 6.0, 1.0]) if affine is None else affine), path)
    return path


def damaged(kind: str, folder: Path, scans: DemoFiles) -> Path:
    """A file called bad.nii.gz that is not a usable image."""
    path = folder / "bad.nii.gz"
    noise = np.random.default_rng(0).normal(100, 9, (20, 20, 20)).astype(np.float32)
    if kind == "text":
        path.write_text("this is no scan")
    elif kind == "truncated":
        path.write_bytes(scans.query.read_bytes()[:20_000])
    elif kind == "nan":
        noise[3, 4, 5] = np.nan
        save(path, noise)
    elif kind == "constant":
        save(path, np.full((20, 20, 20), 7, np.int16))
    elif kind == "flat":
        save(path, noise[:, :, 0])
    elif kind == "collapsed":
        save(path, noise)
        raw = bytearray(gzip.decompress(path.read_bytes()))
        raw[280:296] = bytes(16)  # srow_x
        raw[252:254] = bytes(2)  # no qform that could stand in
        path.write_bytes(gzip.compress(bytes(raw)))
    return path


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("role", ["query", "atlas"])
def test_bad_image_is_refused(kind, role, scans, tmp_path):
    bad = damaged(kind, tmp_path, scans)
    out = tmp_path / "out"
    query, atlas = (bad, scans.atlas) if role == "query" else (scans.query, bad)
    assert_refused(run("segment", query, "--atlas", atlas, "--labels", scans.labels, "-o", out), "bad.nii.gz")
    assert not out.exists()


def bad_labels(kind: str, folder: Path) -> Path:
    labels = np.zeros((20, 20, 20), np.float32)
    labels[5:9, 5:9, 5:9] = 1
    far = np.diag([5.0, 5.0, 6.0, 1.0])
    far[:3, 3] = 5000
    if kind == "not integers":
        return save(folder / "bad.nii.gz", labels * 0.4)
    if kind == "empty":
        return save(folder / "bad.nii.gz", labels.astype(np.uint8) * 0)
    return save(folder / "bad.nii.gz", labels.astype(np.uint8), far)


@pytest.mark.parametrize("kind", ["not integers", "empty", "no overlap"])
def test_bad_label_map_is_refused(kind, scans, tmp_path):
    bad = bad_labels(kind, tmp_path)
    out = tmp_path / "out"
    assert_refused(run("segment", scans.query, "--atlas", scans.atlas, "--labels", bad, "-o", out), "bad.nii.gz")
    assert not out.exists()


@pytest.mark.parametrize("place", ["taken", "taken/deeper", "/proc/nowhere"])
def test_unwritable_output_folder_is_refused(place, scans, tmp_path):
    (tmp_path / "taken").write_text("a file")
    if place.startswith("/proc") and not Path("/proc/self").exists():
        pytest.skip("no /proc on this system")
    done = run("segment", scans.query, *atlas_options(scans), "-o", place, cwd=tmp_path)
    assert_refused(done, place, "-o")


def test_query_equal_to_an_output_is_refused(scans, tmp_path):
    one, two = tmp_path / "one.nii.gz", tmp_path / "one_seg.nii.gz"
    one.write_bytes(scans.query.read_bytes())
    two.write_bytes(scans.query.read_bytes())
    assert_refused(run("segment", one, two, *atlas_options(scans), "-o", tmp_path), "one_seg.nii.gz", "overwritten")
    assert two.read_bytes() == scans.query.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.nii.gz", "one_seg.nii.gz"]
