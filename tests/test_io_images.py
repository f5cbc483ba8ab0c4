from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from atlassegfm.errors import GeometryError, InputError
from atlassegfm.io import read_image, read_labels, write_image, write_labels
from atlassegfm.volume import Grid, Volume

SUFFIXES = (".nii", ".nii.gz", ".nrrd", ".mha")


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"x{request.param}"


def fails(call, *args, word):
    with pytest.raises(InputError, match=word) as caught:
        call(*args)
    assert "\n" not in str(caught.value)


def test_missing_files_folders_and_other_kinds(tmp_path):
    (tmp_path / "x.png").write_text("x")
    (tmp_path / "x").write_text("x")
    (tmp_path / "empty.nii.gz").touch()
    (tmp_path / "series").mkdir()
    for read in (read_image, read_labels):
        fails(read, tmp_path / "no.nii", word="no such file")
        fails(read, str(tmp_path / "series"), word="no DICOM image|expected one RTSTRUCT")
        fails(read, tmp_path / "empty.nii.gz", word="empty")
        fails(read, tmp_path / "x.png", word=r"\.nii\.gz.*got \.png")
        fails(read, tmp_path / "x", word="without suffix")


def test_nan_and_infinite_voxels_are_counted(path, image):
    image.data[0, 0, :3] = np.nan
    image.data[1, 1, 1] = np.inf
    image.data[1, 1, 2] = -np.inf
    write_image(path, image)
    fails(read_image, path, word="3 NaN and 2 infinite among 924 voxels; replace")


def test_values_beyond_float32_are_not_let_in(path, image):
    import SimpleITK as sitk  # noqa: N813

    data = image.data.astype(np.float64).transpose(2, 1, 0)
    data[0, 0, 0] = 1e300
    sitk.WriteImage(sitk.GetImageFromArray(data), str(path))
    fails(read_image, path, word="1 infinite")
    assert read_image(path, dtype=np.float64).data.max() == 1e300


def test_a_constant_image_is_refused(path, image):
    write_image(path, image.with_data(np.full(image.grid.shape, 7.0)))
    fails(read_image, path, word="every voxel has the value 7")


def test_an_image_comes_back(path, image):
    write_image(path, image)
    back = read_image(str(path))
    assert back.data.dtype == np.float32
    assert np.array_equal(back.data, image.data)
    assert back.data.flags.writeable
    assert back.data.flags.c_contiguous


def test_read_volumes_can_be_sent_to_another_process(path, image):
    write_image(path, image)
    back = pickle.loads(pickle.dumps(read_image(path)))
    assert np.array_equal(back.data, image.data)


def test_float_labels_with_whole_numbers_are_read(path, labels):
    write_image(path, labels)
    back = read_labels(path)
    assert back.data.dtype == np.uint8
    assert np.array_equal(back.data, labels.data)


@pytest.mark.parametrize(("value", "word"), [(0.5, "got 0.5"), (np.nan, "got nan"), (np.inf, "got inf")])
def test_fractional_labels_are_refused_with_an_example(path, labels, value, word):
    data = labels.data.astype(np.float32)
    data[3, 3, 3] = value
    write_image(path, labels.with_data(data))
    fails(read_labels, path, word=word)


@pytest.mark.parametrize("value", [-1, 2**33])
def test_labels_out_of_range_are_refused(path, labels, value):
    data = labels.data.astype(np.float32)
    data[3, 3, 3] = value
    write_image(path, labels.with_data(data))
    fails(read_labels, path, word=f"got {value}")


def test_an_empty_label_map_is_read(path, labels):
    write_labels(path, labels.with_data(labels.data * 0), labels)
    assert read_labels(path).data.max() == 0


@pytest.mark.parametrize(
    ("value", "dtype"), [(1, np.uint8), (255, np.uint8), (256, np.uint16), (65536, np.uint32), (2**32 - 1, np.uint32)]
)
def test_the_smallest_type_that_holds_the_values(path, labels, value, dtype):
    data = labels.data.astype(np.int64)
    data[3, 3, 3] = value
    write_labels(path, labels.with_data(data), labels)
    back = read_labels(path)
    assert back.data.dtype == dtype
    assert np.array_equal(back.data, data)


def test_boolean_masks_can_be_written(path, labels):
    write_labels(path, labels.with_data(labels.data > 0), labels)
    assert np.array_equal(read_labels(path).data, labels.data > 0)


def test_labels_that_do_not_fit_are_not_written(path, labels):
    other = Grid(labels.grid.shape, labels.grid.affine + np.eye(4, k=3))
    with pytest.raises(GeometryError, match="resample"):
        write_labels(path, Volume(labels.data, other), labels)
    fails(write_labels, path, labels.with_data(labels.data - 1.5), labels, word="integer labels")
    fails(write_labels, path, labels.with_data(labels.data.astype(int) - 1), labels, word="got -1")
    assert not path.exists()


def test_nothing_is_left_behind_where_writing_fails(tmp_path, labels):
    for name in ("no/x.nii.gz", "no/x.mha"):
        fails(write_labels, tmp_path / name, labels, labels, word="does not exist")
    fails(write_labels, tmp_path / "x.png", labels, labels, word="ending in")
    (tmp_path / "x.nii.gz").mkdir()
    fails(write_labels, tmp_path / "x.nii.gz", labels, labels, word="got a folder")
    assert os.listdir(tmp_path) == ["x.nii.gz"]


def test_write_image_keeps_the_header_of_like_only_on_its_grid(tmp_path, image):
    write_image(tmp_path / "query.nii", image)
    query = read_image(tmp_path / "query.nii")
    probability = Volume(query.data / 200, query.grid)
    write_image(tmp_path / "a.nii", probability, like=query)
    assert np.array_equal(read_image(tmp_path / "a.nii").affine, query.affine)
    part = query.grid.cropped((slice(1, 9), slice(1, 9), slice(1, 5)))
    write_image(tmp_path / "b.nii", Volume(query.data[1:9, 1:9, 1:5], part), like=query)
    assert read_image(tmp_path / "b.nii").grid.matches(part)


def test_importing_the_package_does_not_import_the_file_libraries():
    code = "import sys, atlassegfm.atlas; print([m for m in ('nibabel', 'SimpleITK', 'torch') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"
