"""The pipeline on real scans, where they exist. Figures come from `atlassegfm evaluate`; here it must simply work."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from atlassegfm.atlas import Atlas
from atlassegfm.io import read_image, read_labels
from atlassegfm.pipeline import segment
from atlassegfm.report.outputs import write_outputs
from dicom_files import uid
from independent import by_nibabel, by_simpleitk, rtstruct_by_matplotlib, seg_by_hand, seg_by_highdicom

pytestmark = pytest.mark.real

#: Set, atlas, query, labels.
PAIRS = [
    ("hippocampus", "hippocampus_037", "hippocampus_038", (1, 2)),
]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


def atlas_of(folder: Path, name: str, values: tuple[int, ...]) -> Atlas:
    return Atlas.load(folder / f"images/{name}.nii.gz", folder / f"labels/{name}.nii.gz", only=list(values))


@pytest.mark.parametrize(("name", "atlas_id", "query_id", "values"), PAIRS)
def test_a_real_pair(real_data, name, atlas_id, query_id, values):
    folder = real_data / name
    query = read_image(folder / f"images/{query_id}.nii.gz")
    truth = read_labels(folder / f"labels/{query_id}.nii.gz").data
    result = segment(atlas_of(folder, atlas_id, values), query)
    assert result.labels.grid.matches(query.grid, 0.0)
    for value in values:
        final = dice(result.labels.data == value, truth == value)
        assert final > 0.6
        assert final > dice(result.atlas_labels.data == value, truth == value) - 0.05


@pytest.mark.parametrize("name", ["abdomen-mr", "abdomen-ct", "heart-mr", "hippocampus", "brain-mr"])
def test_every_set_reads_as_an_atlas(real_data, name):
    folder = real_data / name
    first = sorted(folder.glob("images/*.nii.gz"))[0].name.removesuffix(".nii.gz")
    atlas = Atlas.load(folder / f"images/{first}.nii.gz", folder / f"labels/{first}.nii.gz")
    assert atlas.values
    unnamed = [v for v in atlas.values if atlas.names[v] == f"label {v}"]
    # One value of the brain scans has no entry in the set's dataset.json.
    assert len(unnamed) <= (1 if name == "brain-mr" else 0)
    assert bool(unnamed) == any("name" in notice for notice in atlas.notices)


def another_series(source: Path, folder: Path) -> list[Path]:
    """A copy of a series as another patient lies: turned, moved, with identifiers and noise of its own."""
    folder.mkdir()
    angle = np.radians(8)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    noise = np.random.default_rng(0)
    for path in sorted(source.iterdir()):
        dataset = pydicom.dcmread(path)
        if "PixelData" not in dataset:
            continue
        position = turn @ np.array(dataset.ImagePositionPatient, float) + (35, -20, 111)
        axes = np.array(dataset.ImageOrientationPatient, float).reshape(2, 3) @ turn.T
        dataset.ImagePositionPatient = [f"{x:.6f}" for x in position]
        dataset.ImageOrientationPatient = [f"{x:.9f}" for x in axes.ravel()]
        values = np.roll(dataset.pixel_array.astype(float), (4, -6), (0, 1)) + noise.normal(0, 15, (dataset.Rows, 1))
        dataset.PixelData = np.clip(values, 0, 4095).astype("<u2").tobytes()
        dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = uid("another"), uid("another frame")
        dataset.SOPInstanceUID = uid("another", path.name)
        dataset.save_as(folder / path.name)
    return sorted(folder.iterdir())


def test_a_real_rtstruct_goes_to_another_series(real_data, tmp_path):
    folder = real_data / "dicom-lung-ct"
    if not folder.is_dir():
        pytest.skip("no dicom-lung-ct among the development scans")
    files = another_series(folder / "ct", tmp_path / "in")
    atlas, query = Atlas.load(folder / "ct", folder / "rtstruct"), read_image(tmp_path / "in")
    result = segment(atlas, query, model="none", registration="rigid")
    # The truth, but for what rolled over the edge: the same voxels, moved with the picture.
    truth = np.roll(atlas.labels.data, (-6, 4), (0, 1)) == 1
    assert dice(result.labels.data == 1, truth) > 0.95
    formats = ("nifti", "nrrd", "dicom-seg", "rtstruct")
    (tmp_path / "out").mkdir()
    made = write_outputs(tmp_path / "out", "x", query, result, {}, formats).segmentations
    expected = by_nibabel(made["nifti"])[1]
    for points in (
        by_simpleitk(made["nrrd"])[1],
        seg_by_hand(made["dicom-seg"])[1],
        seg_by_highdicom(made["dicom-seg"])[1],
        rtstruct_by_matplotlib(made["rtstruct"], files)[1],
    ):
        assert len(points) == len(expected)
        assert np.abs(points.mean(axis=0) - expected.mean(axis=0)).max() < 0.01
    if shutil.which("dciodvfy"):
        for name in ("dicom-seg", "rtstruct"):
            told = subprocess.run(
                ["dciodvfy", "-new", made[name]], capture_output=True, encoding="latin-1", check=False
            )
            assert "Error" not in told.stdout + told.stderr
