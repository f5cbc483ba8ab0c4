from __future__ import annotations

import json

import numpy as np
import pytest

from atlassegfm.errors import InputError
from atlassegfm.io import file_sha256, read_image, read_labels, write_image
from atlassegfm.report import outputs as outputs_module
from atlassegfm.report.json_report import plain, to_json
from atlassegfm.report.outputs import Outputs, write_outputs
from atlassegfm.volume import Volume
from fakes import fake_segmentation


@pytest.fixture
def case(tmp_path, image, labels):
    path = tmp_path / "in" / "scan.nii.gz"
    path.parent.mkdir()
    write_image(path, image)
    query = read_image(path)
    result = fake_segmentation(Volume(labels.data, query.grid), {1: "one", 3: "three"})
    return path, query, result


def test_three_files_and_what_the_report_says(tmp_path, case):
    path, query, result = case
    made = write_outputs(tmp_path, "scan", query, result, {"query": path})
    assert made == Outputs.of(tmp_path, "scan")
    report = json.loads(made.report.read_text())
    assert report["inputs"]["query"] == {"file": "scan.nii.gz", "sha256": file_sha256(path)}
    assert report["outputs"]["segmentation"]["sha256"] == file_sha256(made.segmentation)
    assert report["outputs"]["qc"]["file"] == "scan_qc.png"
    assert {"python", "numpy", "torch", "atlassegfm"} <= set(report["versions"])
    assert [entry["name"] for entry in report["labels"]] == ["one", "three"]
    assert str(tmp_path) not in made.report.read_text()
    np.testing.assert_array_equal(read_labels(made.segmentation).data, result.labels.data)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in", "scan_qc.png", "scan_report.json", "scan_seg.nii.gz"]


def test_only_timings_may_differ(tmp_path, case):
    path, query, result = case
    first = write_outputs(tmp_path, "scan", query, result, {"query": path})
    before = {role: p.read_bytes() for role, p in first.items().items()}
    result.report["timings"] = {"registration": 99.0}
    write_outputs(tmp_path, "scan", query, result, {"query": path})
    after = {role: p.read_bytes() for role, p in first.items().items()}
    assert before["segmentation"] == after["segmentation"]
    assert before["qc"] == after["qc"]
    old, new = json.loads(before["report"]), json.loads(after["report"])
    assert old.pop("timings") != new.pop("timings")
    assert old == new


def test_a_failure_leaves_nothing(tmp_path, case, monkeypatch):
    path, query, result = case

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs_module, "to_json", no_space)
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError, match="No space left"):
        write_outputs(out, "scan", query, result, {"query": path})
    assert list(out.iterdir()) == []


def test_a_failed_rename_takes_back_the_others(tmp_path, case, monkeypatch):
    path, query, result = case
    out = tmp_path / "out"
    out.mkdir()
    (out / "scan_report.json").mkdir()  # a folder where the last file has to go
    with pytest.raises(InputError):
        write_outputs(out, "scan", query, result, {"query": path})
    assert [p.name for p in out.iterdir()] == ["scan_report.json"]


def test_a_missing_folder_is_one_line(tmp_path, case):
    path, query, result = case
    with pytest.raises(InputError, match="cannot be written to"):
        write_outputs(tmp_path / "nowhere", "scan", query, result, {"query": path})


def test_plain_makes_json_types():
    mixed = {
        1: np.float32(0.5),
        "a": np.array([1, 2]),
        "nan": float("nan"),
        "set": {3, 1},
        "text": "x",
        "none": None,
    }
    assert plain(mixed) == {"1": 0.5, "a": [1, 2], "nan": None, "set": [1, 3], "text": "x", "none": None}
    assert to_json({"x": float("inf")}) == '{\n  "x": null\n}\n'
