"""No patient in what is written or said: every output is searched for the identifiers of the input."""

from __future__ import annotations

import gzip
import json
import sys
import zipfile
from types import ModuleType

import nibabel as nib
import numpy as np
import pydicom
import pytest
from typer.testing import CliRunner

from atlassegfm.cli import app
from atlassegfm.io import read_image
from dicom_files import PATIENT, noise, slanted, uid, write_series, write_structures
from fakes import fake_segment

SHAPE = (24, 20, 9)
#: The parts of names, numbers and dates of the query's patient; folders and files are called after the patient too.
QUERY = [
    uid("query"),
    uid("study"),
    "quixote",
    "dulcinea",
    "4711",
    "19470213",
    "acc998877",
    "20230517",
    "134501",
    "study55",
    "sancho",
    "mancha",
]
#: The patient of the atlas.
ATLAS = ["rocinante", "atl-0815", "19330330"]
OTHER = {"PatientName": "Rocinante^Horse", "PatientID": "ATL-0815", "PatientBirthDate": "19330330"}
FORMATS = "nifti,nrrd,dicom-seg,dicom-seg-fractional,rtstruct"


@pytest.fixture
def scans(tmp_path, monkeypatch):
    """An atlas with RTSTRUCT and a query, in folders and files that are called after the patients."""
    from atlassegfm.report import qc

    module = ModuleType("atlassegfm.pipeline")
    module.segment = fake_segment
    monkeypatch.setitem(sys.modules, "atlassegfm.pipeline", module)
    words: list[str] = []
    draw = qc._Page.text

    def drawn(page, x, y, text, **more):
        words.append(text)
        draw(page, x, y, text, **more)

    monkeypatch.setattr(qc._Page, "text", drawn)
    query, atlas = tmp_path / "in" / "Quixote_Dulcinea_4711", tmp_path / "in" / "Rocinante"
    names = [f"Quixote-20230517-{k}" for k in range(SHAPE[2])]
    write_series(query, noise(SHAPE), slanted(), names=names, series="query", more={"SeriesDescription": "T1 QUIXOTE"})
    write_series(atlas, noise(SHAPE), slanted(), series="atlas", more=OTHER)
    grid = read_image(atlas).grid
    contours = [grid.to_world([(3, 3, k), (12, 3, k), (12, 15, k), (3, 15, k)]) for k in range(2, 7)]
    path = write_structures(tmp_path / "in" / "RS.Rocinante.dcm", {"liver": contours}, series="atlas")
    dataset = pydicom.dcmread(path)
    for key, value in OTHER.items():
        setattr(dataset, key, value)
    dataset.save_as(path)
    return query, atlas, path, words


def segment(query, atlas, labels, out, *more):
    line = ["segment", query, "--atlas", atlas, "--labels", labels, "-o", out, "-v", *more]
    return CliRunner().invoke(app, [str(word) for word in line])


def content(path) -> str:
    """Everything in a file, unpacked, as lower-case text."""
    block = path.read_bytes()
    block = gzip.decompress(block) if block[:2] == b"\x1f\x8b" else block
    return block.decode("latin-1").lower()


def assert_silent(text: str, words: list[str]) -> None:
    assert [word for word in words if word in text.lower()] == []


@pytest.mark.parametrize("packed", [False, True])
def test_dicom_to_every_format(scans, tmp_path, packed):
    query, atlas, labels, words = scans
    if packed:
        folder, query = query, query.with_suffix(".zip")
        with zipfile.ZipFile(query, "w") as archive:
            for path in folder.iterdir():
                archive.write(path, path.name)
    result = segment(query, atlas, labels, tmp_path / "out", "--format", FORMATS)
    assert result.exit_code == 0, result.stderr
    made = sorted((tmp_path / "out").iterdir())
    assert len(made) == 7
    for path in made:
        assert_silent(path.name, QUERY + ATLAS)
        # DICOM results are the patient's own records: of the query they say all, of the atlas nothing.
        assert_silent(content(path), ATLAS if path.suffix == ".dcm" else QUERY + ATLAS)
    assert_silent(" ".join(words), QUERY + ATLAS)
    assert words, "no text in the picture was seen"
    assert_silent(result.stdout + result.stderr, QUERY + ATLAS)
    for path in (tmp_path / "out").glob("*.dcm"):
        assert pydicom.dcmread(path).PatientName == PATIENT["PatientName"]
        assert "quixote" in content(path), "the search does not see what is there"
    report = json.loads(next((tmp_path / "out").glob("*.json")).read_text())
    assert {len(entry["sha256"]) for entry in report["inputs"].values()} == {64}


def test_the_same_series_gets_the_same_name_wherever_it_lies(scans, tmp_path):
    query, atlas, labels, _ = scans
    moved = query.rename(tmp_path / "elsewhere")
    for folder in ("one", "two"):
        assert segment(moved, atlas, labels, tmp_path / folder).exit_code == 0
    assert {p.name for p in (tmp_path / "one").iterdir()} == {p.name for p in (tmp_path / "two").iterdir()}


def test_warnings_and_errors_tell_no_identifiers(scans, tmp_path):
    query, atlas, labels, _ = scans
    moved = query.rename(tmp_path / "scans")
    write_series(moved, noise(SHAPE), slanted(), series="more", names=[f"m{k}" for k in range(SHAPE[2])])
    result = segment(moved, atlas, labels, tmp_path / "out")
    assert result.exit_code == 2
    assert "choose with --series" in result.stderr
    assert_silent(result.stdout + result.stderr, QUERY)
    result = segment(moved, atlas, labels, tmp_path / "out", "--series", uid("query"), "--rois", "spleen")
    assert result.exit_code == 2
    assert_silent(result.stderr, QUERY)


def test_a_damaged_header_is_not_quoted(scans, tmp_path):
    query, atlas, labels, _ = scans
    moved = query.rename(tmp_path / "scans")
    for k, path in enumerate(sorted(moved.iterdir())):
        block = path.read_bytes().replace(b"PixelSpacing", b"")
        at = block.index(b"\x28\x00\x30\x00DS")
        value = b"Quixote\\Dulcin "
        length = int.from_bytes(block[at + 6 : at + 8], "little")
        path.write_bytes(block[: at + 8] + value[:length].ljust(length) + block[at + 8 + length :])
        path.rename(moved / f"{k}.dcm")
    result = segment(moved, atlas, labels, tmp_path / "out")
    assert result.exit_code == 2
    assert "damaged DICOM header" in result.stderr
    assert_silent(result.stderr, QUERY)


def test_registration_of_dicom(scans, tmp_path):
    query, atlas, *_ = scans
    line = ["register", "--fixed", atlas, "--moving", query, "--method", "identity", "--jacobian"]
    result = CliRunner().invoke(app, [*map(str, line), "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.stderr
    for path in (tmp_path / "out").iterdir():
        assert_silent(path.name + content(path), QUERY + ATLAS)
    assert_silent(result.stdout + result.stderr, QUERY + ATLAS)


def test_free_text_of_a_nifti_header_is_not_carried_over(scans, tmp_path):
    _, atlas, labels, _ = scans
    image = nib.Nifti1Image(noise(SHAPE), slanted())
    for field in ("db_name", "descrip", "aux_file", "intent_name"):
        image.header[field] = b"Quixote"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Dulcinea 4711"))
    nib.save(image, tmp_path / "scan.nii.gz")
    result = segment(tmp_path / "scan.nii.gz", atlas, labels, tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    for path in (tmp_path / "out").iterdir():
        assert_silent(content(path), QUERY + ATLAS)


def test_dicom_formats_ask_for_a_dicom_query(scans, tmp_path):
    _, atlas, labels, _ = scans
    nib.save(nib.Nifti1Image(noise(SHAPE), np.eye(4)), tmp_path / "scan.nii.gz")
    result = segment(tmp_path / "scan.nii.gz", atlas, labels, tmp_path / "out", "--format", "nifti,rtstruct")
    assert result.exit_code == 2
    assert "--format rtstruct refers to a DICOM series" in result.stderr
    assert not (tmp_path / "out").exists()
    assert "expected some of nifti" in segment(atlas, atlas, labels, tmp_path / "out", "--format", "pdf").stderr
