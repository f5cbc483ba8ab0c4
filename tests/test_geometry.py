"""Geometry that cannot go wrong: results in every format, read by readers that share no code with ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from atlassegfm.atlas import Atlas
from atlassegfm.io import read_image, read_labels, write_image
from atlassegfm.pipeline import segment
from atlassegfm.report.outputs import write_outputs
from atlassegfm.volume import Grid, Volume
from dicom_files import write_enhanced, write_series
from fakes import fake_segmentation
from independent import by_nibabel, by_simpleitk, rtstruct_by_matplotlib, seg_by_hand, seg_by_highdicom

CENTROID_MM = 0.01
ALL = ("nifti", "nrrd", "dicom-seg", "rtstruct")
SHAPE = (13, 11, 6)
#: Of the environment that runs the tests, or of the system.
DCMQI = shutil.which("segimage2itkimage", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


def shape_with_hole() -> np.ndarray:
    """Two structures without any symmetry, one of them with a hole that runs through some slices."""
    data = np.zeros(SHAPE, np.uint8)
    data[1:8, 2:9, 1:4] = 1
    data[1:3, 2:5, 4] = 1
    data[3:5, 4:7, 1:3] = 0
    data[9:12, 1:4, 2:6] = 2
    data[9, 4, 2] = 2
    return data


def stored() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 900, SHAPE).astype(np.int16)


def affine_of(axes: np.ndarray, spacing=(0.8, 1.7, 3.1), origin=(31.5, -77.25, 12.0)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = axes * np.array(spacing), origin
    return affine


def truth(labels: Volume) -> dict[int, np.ndarray]:
    """World points of each label, by the affine that the test itself made."""
    return {int(v): labels.grid.to_world(np.argwhere(labels.data == v)) for v in np.unique(labels.data) if v}


def assert_same(found: dict[int, np.ndarray], expected: dict[int, np.ndarray]) -> None:
    assert set(found) == set(expected)
    for value, points in expected.items():
        assert len(found[value]) == len(points)
        assert np.abs(found[value].mean(axis=0) - points.mean(axis=0)).max() < CENTROID_MM
        assert cKDTree(found[value]).query(points)[0].max() < CENTROID_MM


def written(folder: Path, query: Volume, labels: Volume, formats=ALL) -> dict[str, Path]:
    folder.mkdir()
    result = fake_segmentation(labels, {1: "kidney_L", 2: "liver"}, with_model=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atlassegfm.report.qc.qc_picture", lambda path, *_, **__: path.write_bytes(b"picture"))
        return write_outputs(folder, "x", query, result, {}, formats).segmentations


def check_dicom(tmp_path: Path, affine: np.ndarray) -> None:
    """A DICOM query with this affine: all formats say the same as the affine."""
    shutil.rmtree(tmp_path / "t", ignore_errors=True)
    (tmp_path / "t").mkdir()
    files = write_series(tmp_path / "t" / "in", stored(), affine)
    query = read_image(tmp_path / "t" / "in")
    # Labels in the order of the slices as written, moved into the reader's order by position alone.
    expected = truth(Volume(shape_with_hole(), Grid(SHAPE, affine)))
    data = np.zeros(query.grid.shape, np.uint8)
    for value, points in expected.items():
        data[tuple(np.rint(query.grid.to_voxel(points)).astype(int).T)] = value
    made = written(tmp_path / "t" / "out", query, query.with_data(data))
    assert_same(by_nibabel(made["nifti"]), expected)
    assert_same(by_simpleitk(made["nrrd"]), expected)
    assert_same(seg_by_hand(made["dicom-seg"]), expected)
    assert_same(seg_by_highdicom(made["dicom-seg"]), expected)
    # Same voxels, holes included: Dice 1 and surface distance 0.
    assert_same(rtstruct_by_matplotlib(made["rtstruct"], files), expected)
    for name in ALL:
        assert np.array_equal(read_labels(made[name], image=query).data, data)


def test_dicom_in_48_orientations(tmp_path, axis_orders):
    """Half of them are left-handed, which for DICOM is a reversed slice order."""
    for axes in axis_orders:
        check_dicom(tmp_path, affine_of(axes))


angles = st.floats(-180, 180)


def turn(a: float, b: float, c: float) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    return Rotation.from_euler("xyz", (a, b, c), degrees=True).as_matrix()


@settings(max_examples=15)
@given(angles=st.tuples(angles, angles, angles), spacing=st.tuples(*[st.floats(0.3, 6)] * 3), flip=st.booleans())
def test_dicom_oblique_anisotropic_and_reversed(tmp_path, angles, spacing, flip):
    axes = turn(*angles) * (1, 1, -1 if flip else 1)
    check_dicom(tmp_path, affine_of(axes, spacing, (-211.125, 80.5, 1044.25)))


def test_dicom_with_gantry_tilt(tmp_path):
    affine = affine_of(np.diag([-1.0, -1.0, 1.0]))
    affine[:3, 2] += (0, 0.9, 0)
    files = write_series(tmp_path / "in", stored(), affine)
    query = read_image(tmp_path / "in")
    labels = query.with_data(shape_with_hole())
    made = written(tmp_path / "out", query, labels)
    assert_same(by_nibabel(made["nifti"]), truth(labels))
    assert_same(by_simpleitk(made["nrrd"]), truth(labels))
    assert_same(seg_by_hand(made["dicom-seg"]), truth(labels))
    assert_same(rtstruct_by_matplotlib(made["rtstruct"], files), truth(labels))


def test_dicom_enhanced(tmp_path):
    affine = affine_of(turn(10, 20, 30))
    write_enhanced(tmp_path / "in", stored(), affine, scaling=[(1.0, -1000.0)] * SHAPE[2])
    query = read_image(tmp_path / "in")
    flipped = np.linalg.det(query.affine[:3, :3]) * np.linalg.det(affine[:3, :3]) < 0
    labels = query.with_data(shape_with_hole()[..., ::-1] if flipped else shape_with_hole())
    made = written(tmp_path / "out", query, labels)
    for read in (seg_by_hand, seg_by_highdicom):
        assert_same(read(made["dicom-seg"]), truth(Volume(shape_with_hole(), Grid(SHAPE, affine))))
    assert np.array_equal(read_labels(made["rtstruct"], image=query).data, labels.data)


def test_nifti_in_48_orientations(tmp_path, axis_orders):
    """Left-handed affines included."""
    for axes in axis_orders:
        check_nifti(tmp_path, affine_of(axes))


@settings(max_examples=30)
@given(order=st.integers(0, 47), angles=st.tuples(angles, angles, angles), spacing=st.tuples(*[st.floats(0.3, 6)] * 3))
def test_nifti_oblique_and_anisotropic(tmp_path, axis_orders, order, angles, spacing):
    check_nifti(tmp_path, affine_of(turn(*angles) @ axis_orders[order], spacing))


def check_nifti(tmp_path: Path, affine: np.ndarray) -> None:
    """A NIfTI query with this affine: both formats say the same as the affine."""
    shutil.rmtree(tmp_path / "t", ignore_errors=True)
    (tmp_path / "t").mkdir()
    grid = Grid(SHAPE, affine)
    write_image(tmp_path / "t" / "q.nii.gz", Volume(stored(), grid))
    query = read_image(tmp_path / "t" / "q.nii.gz")
    labels = query.with_data(shape_with_hole())
    made = written(tmp_path / "t" / "out", query, labels, ("nifti", "nrrd"))
    for path, read in ((made["nifti"], by_nibabel), (made["nifti"], by_simpleitk), (made["nrrd"], by_simpleitk)):
        assert_same(read(path), truth(Volume(labels.data, grid)))


@pytest.mark.parametrize("order", [0, 7, 13, 22, 31, 40, 47])
def test_through_the_pipeline(tmp_path, axis_orders, order):
    """An atlas and a DICOM query that lie in the same place under other axes: the labels must stay in their place."""
    grid = Grid(SHAPE, affine_of(np.eye(3), (2.0, 2.0, 2.0)))
    image = Volume(stored().astype(np.float32), grid)
    atlas = Atlas(image, Volume(shape_with_hole(), grid), {1: "a", 2: "b"})
    axes = axis_orders[order]
    # The same voxels, counted along other axes and from other corners.
    permutation, signs = np.abs(axes).argmax(axis=0), axes.sum(axis=0)
    data = image.data.transpose(permutation)[tuple(slice(None, None, int(s)) for s in signs)]
    corner = np.array([0 if axes[r].sum() > 0 else SHAPE[r] - 1 for r in range(3)])
    affine = affine_of(axes, (2.0, 2.0, 2.0), grid.to_world(corner))
    files = write_series(tmp_path / "in", np.ascontiguousarray(data.astype(np.int16)), affine)
    query = read_image(tmp_path / "in")
    result = segment(atlas, query, model="none", registration="identity")
    made = written(tmp_path / "out", query, result.labels)
    assert_same(by_nibabel(made["nifti"]), truth(atlas.labels))
    assert_same(by_simpleitk(made["nrrd"]), truth(atlas.labels))
    assert_same(seg_by_hand(made["dicom-seg"]), truth(atlas.labels))
    assert_same(rtstruct_by_matplotlib(made["rtstruct"], files), truth(atlas.labels))


@pytest.mark.skipif(DCMQI is None, reason="dcmqi is not installed (pip install dcmqi)")
def test_dcmqi_agrees(tmp_path):
    affine = affine_of(turn(15, -25, 35))
    write_series(tmp_path / "in", stored(), affine)
    query = read_image(tmp_path / "in")
    labels = query.with_data(shape_with_hole())
    made = written(tmp_path / "out", query, labels, ("dicom-seg",))
    command = [DCMQI, "--inputDICOM", str(made["dicom-seg"]), "--outputDirectory", str(tmp_path)]
    subprocess.run([*command, "-t", "nrrd", "--prefix", "dcmqi"], check=True, capture_output=True)
    for value, points in truth(labels).items():
        (found,) = by_simpleitk(tmp_path / f"dcmqi-{value}.nrrd").values()
        assert_same({value: found}, {value: points})


@pytest.mark.skipif(shutil.which("plastimatch") is None, reason="plastimatch (Debian package) is not installed")
@pytest.mark.parametrize("angles", [(0, 0, 0), (0, 0, 20)])
def test_plastimatch_agrees(tmp_path, angles):
    """It reads axial series only, turned about the long axis at most."""
    affine = affine_of(turn(*angles) @ np.diag([-1.0, -1.0, 1.0]), (0.8, 0.8, 3.1))
    write_series(tmp_path / "in", stored(), affine)
    query = read_image(tmp_path / "in")
    labels = query.with_data(shape_with_hole())
    made = written(tmp_path / "out", query, labels, ("rtstruct",))
    command = ["plastimatch", "convert", "--input", str(made["rtstruct"]), "--referenced-ct", str(tmp_path / "in")]
    more = ["--output-prefix", str(tmp_path / "masks"), "--prefix-format", "nrrd"]
    subprocess.run([*command, *more], check=True, capture_output=True)
    for value, name in ((1, "kidney_L"), (2, "liver")):
        (found,) = by_simpleitk(tmp_path / "masks" / f"{name}.nrrd").values()
        assert_same({value: found}, {value: truth(labels)[value]})
