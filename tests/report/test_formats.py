from __future__ import annotations

import pytest

from atlassegfm.errors import InputError
from atlassegfm.report.formats import (
    FORMATS,
    asked_formats,
    needs_dicom,
    needs_probabilities,
    read_formats,
    write_segmentation,
)
from fakes import fake_segmentation


def test_lists_of_formats():
    assert read_formats("nifti") == ["nifti"]
    assert read_formats(" RTSTRUCT, nifti,,rtstruct") == ["rtstruct", "nifti"]
    for text in ("", ",", "pdf", "nifti,pdf"):
        with pytest.raises(InputError, match="--format"):
            read_formats(text)


def test_what_formats_ask_for():
    assert needs_dicom(["nifti", "rtstruct", "nrrd"]) == ["rtstruct"]
    assert not needs_probabilities(["nifti", "dicom-seg"], "none")
    assert needs_probabilities(["dicom-seg-fractional"], "builtin")
    with pytest.raises(InputError, match="needs a model"):
        needs_probabilities(["nifti", "dicom-seg-fractional"], "none")


def test_overlapping_labels_go_into_formats_that_can_hold_them():
    assert asked_formats("nifti", overlapping=True) == ["masks"]
    assert asked_formats("nifti,rtstruct", overlapping=True, uncertainty=True) == ["masks", "rtstruct", "uncertainty"]
    assert asked_formats("nifti", uncertainty=True) == ["nifti", "uncertainty"]
    with pytest.raises(InputError, match=r"--overlapping: expected .*nifti.*, got nrrd, dicom-seg"):
        asked_formats("nifti,nrrd,dicom-seg", overlapping=True)


def test_the_uncertainty_takes_probabilities_where_there_are_some():
    assert needs_probabilities(["uncertainty"], "builtin")
    assert not needs_probabilities(["uncertainty"], "none")


def test_endings_and_roles_are_all_different():
    assert len({entry.ending for entry in FORMATS.values()}) == len(FORMATS)
    assert len({entry.role for entry in FORMATS.values()}) == len(FORMATS)


@pytest.mark.parametrize("name", [name for name in FORMATS if FORMATS[name].dicom])
def test_dicom_needs_a_dicom_query(tmp_path, labels, name):
    with pytest.raises(InputError, match="not DICOM"):
        write_segmentation(name, tmp_path / "x.dcm", labels, fake_segmentation(labels, {1: "a"}))
    assert not (tmp_path / "x.dcm").exists()
