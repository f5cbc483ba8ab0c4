"""One mask per label: names, content, files."""

from __future__ import annotations

import json

import numpy as np

from atlassegfm.io import read_image, read_labels, write_image
from atlassegfm.report.masks import label_mask, mask_names
from atlassegfm.report.outputs import Outputs, write_outputs
from atlassegfm.volume import Volume
from fakes import fake_segmentation


def test_names_are_fit_for_files_and_all_different():
    assert mask_names({1: "left kidney", 2: "liver"}) == {1: "left_kidney", 2: "liver"}
    made = mask_names({1: "Aorta", 2: "aorta", 3: "a/b", 4: "a b", 5: "", 6: "../up"})
    assert (made[1], made[2], made[4]) == ("Aorta_1", "aorta_2", "a_b")
    assert len({name.casefold() for name in made.values()}) == len(made)
    assert all("/" not in name and name for name in made.values())


def test_each_label_has_a_file_and_they_may_overlap(tmp_path, image, labels):
    path = tmp_path / "scan.nii.gz"
    write_image(path, image)
    query = read_image(path)
    result = fake_segmentation(Volume(labels.data, query.grid), {1: "one", 3: "number three"})
    box = tuple(slice(1, n) for n in query.grid.shape)
    result.masks = {1: (box, np.ones([n - 1 for n in query.grid.shape], bool))}
    made = write_outputs(tmp_path, "scan", query, result, {"query": path}, ("masks",))
    assert {p.name for p in made.masks.values()} == {"scan_seg_one.nii.gz", "scan_seg_number_three.nii.gz"}
    assert not (tmp_path / "scan_seg.nii.gz").exists()
    one, three = (read_labels(made.masks[value]) for value in (1, 3))
    assert one.data[box].all()
    assert np.count_nonzero(one.data) == result.masks[1][1].size
    np.testing.assert_array_equal(three.data > 0, labels.data == 3)
    np.testing.assert_array_equal(label_mask(result, 3), labels.data == 3)
    np.testing.assert_allclose(one.affine, query.affine)
    told = json.loads(made.report.read_text())["outputs"]
    assert told["mask_1"]["file"] == "scan_seg_one.nii.gz"
    # What lies there is known before the labels are: no input may be overwritten.
    assert set(Outputs.of(tmp_path, "scan", ("masks",)).masks.values()) == set(made.masks.values())
