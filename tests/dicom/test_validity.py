"""What is written is valid DICOM: checked by dciodvfy (Debian's dicom3tools) where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest

from atlassegfm.errors import InputError
from atlassegfm.io import read_image
from atlassegfm.io.dicom import META_SERIES, seg_out, write_dicom_seg, write_rtstruct
from dicom_files import PATIENT, noise, slanted, uid, write_enhanced, write_series

NAMES = {1: "Kidney_L", 4: 'Größe \\ "x" ' + "y" * 80, 7: "empty"}
COLOURS = {1: (230, 159, 0), 4: (1, 2, 3), 7: (0, 0, 0)}
QUERIES = ("CT", "MR", "PT", "enhanced", "anonymised")


@pytest.fixture(scope="module", params=QUERIES)
def query(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param) / "in"
    if request.param == "enhanced":
        folder.mkdir()
        write_enhanced(folder / "one", noise(), slanted(), scaling=[(1.0, 0.0)] * 5)
    else:
        modality = request.param if request.param in ("CT", "MR", "PT") else "CT"
        files = write_series(folder, noise(), slanted(), modality=modality)
        if request.param == "anonymised":
            for path in files:
                dataset = pydicom.dcmread(path)
                for key in [*PATIENT, "SeriesNumber", "Manufacturer"]:
                    delattr(dataset, key)
                dataset.save_as(path)
    return read_image(folder)


@pytest.fixture(scope="module")
def results(query, tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("out")
    data = np.zeros(query.grid.shape, np.uint8)
    data[2:6, 2:5, 1:4], data[7:9, 1:3, 0:2] = 1, 4
    data[3, 3, 1:4] = 0
    series = query.meta[META_SERIES]
    write_rtstruct(folder / "rs.dcm", query.with_data(data), series, NAMES, COLOURS)
    write_dicom_seg(folder / "seg.dcm", query.with_data(data), series, NAMES, COLOURS)
    box = (slice(1, 9), slice(0, 6), slice(0, 5))
    shares = {value: (box, (data[box] == value).astype(np.float32) * 0.7) for value in (1, 4)}
    write_dicom_seg(folder / "fra.dcm", query.with_data(data), series, NAMES, COLOURS, probabilities=shares)
    return folder / "rs.dcm", folder / "seg.dcm", folder / "fra.dcm"


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy is not installed (apt install dicom3tools)")
def test_dciodvfy_finds_no_error(results):
    for path in results:
        done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, encoding="latin-1", check=False)
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
        assert not errors, f"{path.name}: {errors}"


def test_patient_and_study_are_those_of_the_query(results, query):
    header = query.meta[META_SERIES].headers()[0]
    for path in results:
        dataset = pydicom.dcmread(path)
        for key in (*PATIENT, "StudyInstanceUID"):
            if key not in ("InstitutionName",):
                assert str(dataset.get(key, "") or "") == str(header.get(key, "") or ""), key
        assert dataset.SeriesInstanceUID != header.SeriesInstanceUID
        assert dataset.FrameOfReferenceUID == header.FrameOfReferenceUID
        assert dataset.Manufacturer == "AtlasSegFM"


def test_structures_refer_to_the_slices_they_lie_on(results, query):
    series = query.meta[META_SERIES]
    known = {(frame.instance.sop_uid, frame.number): frame.position for frame in series.frames}
    dataset = pydicom.dcmread(results[0])
    (frame,) = dataset.ReferencedFrameOfReferenceSequence
    (images,) = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert images.SeriesInstanceUID == series.uid
    assert len(images.ContourImageSequence) == query.grid.shape[2]
    normal = np.cross(*series.frames[0].axes)
    for drawn in dataset.ROIContourSequence:
        for contour in drawn.get("ContourSequence", []):
            (image,) = contour.ContourImageSequence
            position = known[image.ReferencedSOPInstanceUID, int(image.get("ReferencedFrameNumber", 1))]
            points = np.array(contour.ContourData, float).reshape(-1, 3)
            assert np.abs((points - position) @ normal).max() < 1e-3
            assert contour.NumberOfContourPoints == len(points)
    assert dataset.StructureSetROISequence[0].ROIName == "Kidney_L"
    assert "ContourSequence" not in dataset.ROIContourSequence[2]


def test_segments_are_coded_and_refer_to_their_sources(results, query):
    dataset = pydicom.dcmread(results[1])
    first, second, third = dataset.SegmentSequence
    kind = first.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.CodingSchemeDesignator) == ("64033007", "SCT")
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert second.SegmentedPropertyTypeCodeSequence[0].CodeValue == "91723000"
    assert third.SegmentLabel == "empty"
    algorithm = first.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "AtlasSegFM"
    assert algorithm.AlgorithmVersion
    referenced = {str(item.SeriesInstanceUID) for item in dataset.ReferencedSeriesSequence}
    assert referenced == {query.meta[META_SERIES].uid}


def test_probabilities_lie_where_the_labels_do(results):
    assert pydicom.dcmread(results[2]).SegmentationType == "FRACTIONAL"
    binary, fractional = (hd.seg.segread(path) for path in results[1:])
    for number in (1, 2):
        mask = binary.get_volume(segment_numbers=[number]).array[..., 0]
        share = fractional.get_volume(segment_numbers=[number], rescale_fractional=True)
        origin = np.array(share.position) - np.array(binary.get_volume(segment_numbers=[number]).position)
        assert np.abs(origin).max() < 1e-6
        np.testing.assert_allclose(share.array[..., 0], mask * 0.7, atol=1 / 255)


def test_too_many_probabilities_are_one_line(tmp_path, query, monkeypatch):
    monkeypatch.setattr(seg_out, "MAX_FRACTIONAL_BYTES", 100)
    labels = query.with_data(np.ones(query.grid.shape, np.uint8))
    with pytest.raises(InputError, match="--only"):
        write_dicom_seg(tmp_path / "x.dcm", labels, query.meta[META_SERIES], {1: "x"}, {}, probabilities={})


def test_a_series_without_frame_of_reference_is_one_line(tmp_path):
    write_series(tmp_path / "in", noise(), slanted(), more={"FrameOfReferenceUID": ""})
    query = read_image(tmp_path / "in")
    labels = query.with_data(np.ones(query.grid.shape, np.uint8))
    for write in (write_rtstruct, write_dicom_seg):
        with pytest.raises(InputError, match="no frame of reference"):
            write(tmp_path / "x.dcm", labels, query.meta[META_SERIES], {1: "x"}, {})
    assert not (tmp_path / "x.dcm").exists()


def test_files_that_are_gone_when_the_result_is_written(tmp_path):
    files = write_series(tmp_path / "in", noise(), slanted())
    query = read_image(tmp_path / "in")
    files[2].unlink()
    labels = query.with_data(np.ones(query.grid.shape, np.uint8))
    with pytest.raises(InputError, match=r"0002\.dcm"):
        write_rtstruct(tmp_path / "x.dcm", labels, query.meta[META_SERIES], {1: "x"}, {})


def test_new_objects_have_new_identifiers(results):
    found = {pydicom.dcmread(path).SOPInstanceUID for path in results}
    assert len(found) == len(results)
    assert uid("series") not in found


def test_overlapping_structures_each_have_all_their_voxels(tmp_path, query):
    """A structure within another: in the label map it took the other's voxels, as contours both are whole."""
    data = np.zeros(query.grid.shape, np.uint8)
    data[1:9, 1:6, 1:4] = 1
    whole = query.with_data(data.copy())
    data[3:6, 2:4, 1:4] = 4
    box = (slice(1, 9), slice(1, 6), slice(1, 4))
    masks = {1: (box, np.ones((8, 5, 3), bool))}
    series, drawn = query.meta[META_SERIES], []
    for labels, own in ((query.with_data(data), masks), (whole, None), (query.with_data(data), None)):
        write_rtstruct(tmp_path / "rs.dcm", labels, series, NAMES, COLOURS, own)
        structures = pydicom.dcmread(tmp_path / "rs.dcm").ROIContourSequence
        drawn.append([[list(c.ContourData) for c in s.get("ContourSequence", [])] for s in structures])
    overlapping, alone, flat = drawn
    assert overlapping[0] == alone[0] != flat[0]
    assert overlapping[1] == flat[1] != []
