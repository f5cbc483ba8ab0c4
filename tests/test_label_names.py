from __future__ import annotations

import json

import pytest

from atlassegfm.errors import InputError
from atlassegfm.label_names import PALETTE, find_dataset_json, palette, read_label_names

SNAP = """################################################
# ITK-SnAP Label Description File
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "left kidney"
    4    10   20   30      0.5  1  1    "spleen, upper"
"""
CTBL = """# Color table file C:/colors.ctbl
# 3 values
0 background 0 0 0 0
1 left_kidney 221 130 101 255
4 'liver' 10 20 30 255
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    "labels",
    [
        {"1": "liver", "2": "left kidney"},
        {"0": "background", "1": "liver", "2": "left kidney"},
        {"background": 0, "liver": 1, "left kidney": 2},
        {"background": "0", "liver": "1", "left kidney": "2"},
        {"background": 0, "whole": [1, 2], "liver": [1], "left kidney": 2},
        {1: "liver", 2: "left  kidney"},
    ],
)
def test_dataset_json_layouts_and_mappings(tmp_path, labels):
    expected = {1: "liver", 2: "left kidney"}
    assert read_label_names(labels).names == expected
    assert read_label_names(write(tmp_path / "dataset.json", json.dumps({"labels": labels}))).names == expected
    assert read_label_names(labels).colours == {}


def test_a_bare_json_mapping_of_values_is_read(tmp_path):
    assert read_label_names(write(tmp_path / "x.json", '{"1": "liver"}')).names == {1: "liver"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1=liver,2=spleen", {1: "liver", 2: "spleen"}),
        (" 1 = liver , 12 = left kidney ", {1: "liver", 12: "left kidney"}),
        ("1=liver, left lobe,2=spleen", {1: "liver, left lobe", 2: "spleen"}),
        ("0=background,3=a=b,", {3: "a=b"}),
        (",".join(f"{n}=organ number {n}" for n in range(1, 135)), {n: f"organ number {n}" for n in range(1, 135)}),
    ],
)
def test_inline_text(text, expected):
    assert read_label_names(text).names == expected


def test_slicer_colour_table(tmp_path):
    table = read_label_names(str(write(tmp_path / "x.ctbl", CTBL)))
    assert table.names == {1: "left kidney", 4: "liver"}
    assert table.colours == {1: (221, 130, 101), 4: (10, 20, 30)}


@pytest.mark.parametrize("name", ["labels.txt", "x.label"])
def test_itk_snap_label_file(tmp_path, name):
    table = read_label_names(write(tmp_path / name, SNAP))
    assert table.names == {1: "left kidney", 4: "spleen, upper"}
    assert table.colours == {1: (255, 0, 0), 4: (10, 20, 30)}


def test_byte_order_marks_and_old_encodings(tmp_path):
    (tmp_path / "bom.ctbl").write_bytes(b"\xef\xbb\xbf" + CTBL.encode())
    assert read_label_names(tmp_path / "bom.ctbl").names[1] == "left kidney"
    (tmp_path / "latin.ctbl").write_bytes("1 ösophagus 1 2 3 255\n".encode("latin-1"))
    assert read_label_names(tmp_path / "latin.ctbl").names[1] == "ösophagus"


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("{not json", "not valid JSON"),
        ("[1, 2]", "no label names"),
        ('{"name": "x", "numTraining": 3}', "no label names"),
        ('{"labels": [1]}', "no label names"),
        ('{"labels": {"1": {"name": "liver"}}}', "expected a label value"),
        ('{"labels": {"liver": true}}', "expected a label value"),
        ('{"labels": {"liver": -1}}', "expected a label value"),
        ('{"labels": {"liver": 1, "spleen": 1}}', "two names"),
    ],
)
def test_unusable_json(tmp_path, content, word):
    with pytest.raises(InputError, match=word) as caught:
        read_label_names(write(tmp_path / "dataset.json", content))
    assert "\n" not in str(caught.value)
    assert "dataset.json" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("hello world\n", "line 1"),
        ("# nothing\n", "no label names"),
        ("1 liver 300 0 0 255\n", "colour beyond"),
        ("1 liver 1 2 3 255\n1 spleen 1 2 3 255\n", "two names"),
    ],
)
def test_unusable_tables(tmp_path, content, word):
    with pytest.raises(InputError, match=word) as caught:
        read_label_names(write(tmp_path / "x.ctbl", content))
    assert "\n" not in str(caught.value)
    assert "x.ctbl" in str(caught.value)


@pytest.mark.parametrize("text", ["1=", "1=liver,2=", "no/such/file.txt", ""])
def test_unusable_text(text):
    with pytest.raises(InputError, match="label names"):
        read_label_names(text)


def test_dataset_json_is_found_beside_and_above(tmp_path):
    folder = tmp_path / "labels"
    folder.mkdir()
    assert find_dataset_json(folder / "x.nii.gz") is None
    above = write(tmp_path / "dataset.json", "{}")
    assert find_dataset_json(folder / "x.nii.gz") == above
    beside = write(folder / "dataset.json", "{}")
    assert find_dataset_json(folder / "x.nii.gz") == beside


def test_palette_goes_by_order_and_round():
    colours = palette([9, 2, 4])
    assert [colours[value] for value in (2, 4, 9)] == list(PALETTE[:3])
    many = palette(range(1, 20))
    assert many[1] == many[1 + len(PALETTE)]
    assert len(set(PALETTE)) == len(PALETTE)
