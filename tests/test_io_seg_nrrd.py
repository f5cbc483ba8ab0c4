from __future__ import annotations

import SimpleITK as sitk  # noqa: N813

from atlassegfm.io import read_labels
from atlassegfm.io.seg_nrrd import segments_in, write_seg_nrrd

NAMES, COLOURS = {1: "left kidney", 3: "Größe"}, {1: (230, 159, 0), 3: (0, 114, 178)}


def test_what_slicer_looks_for_is_there(tmp_path, labels):
    path = tmp_path / "x.seg.nrrd"
    write_seg_nrrd(path, labels, NAMES, COLOURS)
    image = sitk.ReadImage(str(path))
    fields = {key: image.GetMetaData(key) for key in image.GetMetaDataKeys()}
    assert fields["Segment0_Name"] == "left kidney"
    assert fields["Segment1_LabelValue"] == "3"
    assert fields["Segment1_Layer"] == "0"
    assert fields["Segment0_Extent"] == "2 5 3 7 1 3"
    assert [round(float(x) * 255) for x in fields["Segment0_Color"].split()] == [230, 159, 0]
    assert fields["Segmentation_MasterRepresentation"] == "Binary labelmap"
    assert path.read_bytes().startswith(b"NRRD000")


def test_names_and_colours_come_back(tmp_path, labels):
    path = tmp_path / "x.seg.nrrd"
    write_seg_nrrd(path, labels, NAMES, COLOURS)
    back = read_labels(path)
    assert back.grid.matches(labels.grid)
    assert back.meta["label_names"] == NAMES
    assert back.meta["label_colours"] == COLOURS


def test_files_that_slicer_wrote():
    fields = {"Segment0_LabelValue": "5", "Segment0_Name": "x", "Segment0_Color": "1 0.5 0"}
    assert segments_in(fields) == ({5: "x"}, {5: (255, 128, 0)})
    assert segments_in({"Segment0_LabelValue": "5", "Segment0_Color": "red"}) == ({5: "label 5"}, {})
    assert segments_in({"Segment0_LabelValue": "five"}) == ({}, {})


def test_a_label_without_voxels(tmp_path, labels):
    write_seg_nrrd(tmp_path / "x.seg.nrrd", labels, {1: "a", 2: "absent", 3: "b"}, {})
    assert read_labels(tmp_path / "x.seg.nrrd").meta["label_names"][2] == "absent"
