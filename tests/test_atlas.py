from __future__ import annotations

import json

import numpy as np
import pytest

from atlassegfm.atlas import Atlas, present_values
from atlassegfm.errors import GeometryError, InputError
from atlassegfm.io import write_image, write_labels
from atlassegfm.label_names import PALETTE
from atlassegfm.volume import Grid, Volume


@pytest.fixture
def files(tmp_path, image, labels):
    folder = tmp_path / "data" / "labels"
    folder.mkdir(parents=True)
    write_image(tmp_path / "image.nii.gz", image)
    write_labels(folder / "seg.nii.gz", labels, image)
    return tmp_path / "image.nii.gz", folder / "seg.nii.gz"


def fails(*args, word, error=InputError, **kwargs):
    with pytest.raises(error, match=word) as caught:
        Atlas.load(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_load(files, labels):
    atlas = Atlas.load(*files, names="1=liver,3=spleen")
    assert atlas.values == [1, 3]
    assert atlas.names == {1: "liver", 3: "spleen"}
    assert atlas.colours == {1: PALETTE[0], 3: PALETTE[1]}
    assert atlas.labels.grid is atlas.image.grid
    assert np.array_equal(atlas.labels.data, labels.data)
    assert atlas.notices == []


def test_names_are_looked_for_beside_and_in_the_file(files, image, labels):
    unnamed = Atlas.load(*files)
    assert unnamed.names == {1: "label 1", 3: "label 3"}
    assert len(unnamed.notices) == 1
    write_labels(files[1], labels, image, {1: "kept in file", 3: "too"})
    assert Atlas.load(*files).names == {1: "kept in file", 3: "too"}
    (files[1].parents[1] / "dataset.json").write_text(json.dumps({"labels": {"1": "beside", "3": "x", "7": "absent"}}))
    atlas = Atlas.load(*files)
    assert atlas.names == {1: "beside", 3: "x"}
    assert atlas.notices == []
    assert Atlas.load(*files, names={1: "given", 3: "y"}).names == {1: "given", 3: "y"}


def test_a_broken_dataset_json_nobody_asked_for_is_a_notice(files):
    path = files[1].parent / "dataset.json"
    path.write_text("{")
    assert "not valid JSON" in Atlas.load(*files).notices[0]
    assert "not valid JSON" in fails(*files, names=path, word="JSON")


def test_values_without_a_name_and_names_without_a_value(files):
    atlas = Atlas.load(*files, names="1=liver,5=stomach")
    assert atlas.names == {1: "liver", 3: "label 3"}
    assert ["5 (stomach)" in atlas.notices[0], "3" in atlas.notices[1]] == [True, True]


def test_colours_of_a_table_win(files, tmp_path):
    (tmp_path / "x.ctbl").write_text("1 liver 1 2 3 255\n")
    atlas = Atlas.load(*files, names=tmp_path / "x.ctbl")
    assert atlas.colours == {1: (1, 2, 3), 3: PALETTE[1]}


def test_only_keeps_the_chosen_labels_with_their_colours(files, labels):
    atlas = Atlas.load(*files, only=[3])
    assert atlas.values == [3]
    assert atlas.colours == {3: PALETTE[1]}
    assert np.array_equal(atlas.labels.data, np.where(labels.data == 3, 3, 0))
    assert atlas.labels.data.dtype == np.uint8


def test_only_with_unknown_values(files):
    assert str(files[1]) in fails(*files, only=[3, 8], word="8, which do not occur; it has 1, 3")
    fails(*files, only=[], word="no label value")


def test_an_empty_label_map(files, image, labels):
    write_labels(files[1], labels.with_data(labels.data * 0), image)
    assert str(files[1]) in fails(*files, word="empty")


def reoriented(volume):
    """The same labels in the world, axes reversed and turned."""
    data = np.ascontiguousarray(volume.data[::-1].transpose(2, 0, 1))
    flip = np.eye(4)
    flip[0, 0], flip[0, 3] = -1, volume.grid.shape[0] - 1
    affine = (volume.affine @ flip)[:, [2, 0, 1, 3]]
    return Volume(data, Grid(data.shape, affine))


def test_labels_on_another_grid_are_resampled_with_a_notice(files, labels):
    other = reoriented(labels)
    write_labels(files[1], other, other)
    atlas = Atlas.load(*files, names={1: "a", 3: "b"})
    assert np.array_equal(atlas.labels.data, labels.data)
    assert atlas.labels.grid is atlas.image.grid
    (notice,) = atlas.notices
    assert "7 x 12 x 11 voxels" in notice
    assert "resampled" in notice


def test_labels_that_leave_the_image_are_noticed(files, image, labels):
    larger = Grid(image.grid.shape, image.grid.affine)
    shifted = larger.affine.copy()
    shifted[:3, 3] = larger.to_world((0, 0, 3))
    write_labels(
        files[1], Volume(labels.data, Grid(larger.shape, shifted)), Volume(labels.data, Grid(larger.shape, shifted))
    )
    atlas = Atlas.load(*files, names="1=a,3=b")
    assert any("lie outside" in notice for notice in atlas.notices)


def test_rounding_differences_between_grids_are_not_resampled(files, labels):
    affine = labels.affine.copy()
    affine[:3, 3] += 0.01
    near = Volume(labels.data, Grid(labels.grid.shape, affine))
    write_labels(files[1], near, near)
    atlas = Atlas.load(*files, names="1=a,3=b")
    assert atlas.notices == []
    assert atlas.labels.grid is atlas.image.grid


@pytest.mark.parametrize(("crop", "word"), [(0, "copy the image's header"), (1, "belongs together")])
def test_no_overlap_in_the_world(files, labels, crop, word):
    affine = labels.affine.copy()
    affine[0, 3] += 1000
    data = labels.data[crop:]
    far = Volume(data, Grid(data.shape, affine))
    write_labels(files[1], far, far)
    message = fails(*files, word=word, error=GeometryError)
    assert str(files[0]) in message
    assert str(files[1]) in message


def test_a_label_that_vanishes_on_the_image_s_grid_is_noticed(files, labels):
    affine = labels.affine.copy()
    affine[:3, 3] = labels.grid.to_world((0, 0, -4))
    moved = Volume(labels.data, Grid(labels.grid.shape, affine))  # label 1 now lies before the first slice
    write_labels(files[1], moved, moved)
    atlas = Atlas.load(*files, names="1=a,3=b")
    assert atlas.values == [3]
    assert any("labels 1 vanished" in notice for notice in atlas.notices)
    fails(*files, only=[1], word="lies inside", error=GeometryError)


def test_notices_of_both_files_reach_the_atlas(files):
    import nibabel as nib

    for path in files:
        nifti = nib.load(path)
        nifti.header.set_xyzt_units("unknown")
        nib.save(nib.Nifti1Image(np.asarray(nifti.dataobj), None, nifti.header), path)
    notices = Atlas.load(*files, names="1=a,3=b").notices
    assert [notice.split(":")[0] for notice in notices] == ["image.nii.gz", "seg.nii.gz"]


def test_an_atlas_from_arrays_completes_and_checks_itself(image, labels):
    atlas = Atlas(image, labels, {1: "liver", 9: "absent"})
    assert atlas.names == {1: "liver", 3: "label 3"}
    assert atlas.colours == {1: PALETTE[0], 3: PALETTE[1]}
    with pytest.raises(InputError, match="integer"):
        Atlas(image, labels.with_data(labels.data.astype(np.float32)))
    with pytest.raises(InputError, match="empty"):
        Atlas(image, labels.with_data(labels.data * 0))
    with pytest.raises(GeometryError, match="one grid"):
        Atlas(image, reoriented(labels))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32])
def test_present_values(dtype):
    assert present_values(np.array([[[0, 7, 3, 7]]], dtype=dtype)) == [3, 7]


@pytest.mark.real
def test_real_atlases_load_with_their_names(real_data):
    for dataset in ("abdomen-mr", "hippocampus"):
        labels = sorted((real_data / dataset / "labels").glob("*.nii.gz"))[0]
        atlas = Atlas.load(real_data / dataset / "images" / labels.name, labels)
        named = json.loads((real_data / dataset / "dataset.json").read_text())["labels"]
        assert atlas.names == {value: named[str(value)] for value in atlas.values}
        assert atlas.notices == []
