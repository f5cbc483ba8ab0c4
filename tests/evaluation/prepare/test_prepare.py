"""Public data sets from archives and folders in their true layouts."""

import json
import tarfile
import zipfile

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from atlassegfm.errors import InputError
from atlassegfm.evaluation.dataset import Dataset
from atlassegfm.evaluation.prepare import prepare, source
from atlassegfm.io import read_image, read_labels


def zipped(folder, path):
    with zipfile.ZipFile(path, "w") as file:
        for entry in sorted(folder.rglob("*")):
            file.write(entry, entry.relative_to(folder.parent))
    return path


def tarred(folder, path):
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        file.add(folder, folder.name)
    return path


def labels_of(dataset, case_id):
    return read_labels(dataset.case(case_id).labels)


# ------------------------------------------------------------------------------------------------- CHAOS


def write_dicom(path, pixels, position, spacing):
    image = sitk.GetImageFromArray(pixels[None].astype(np.int16))
    image.SetSpacing((*spacing, 7.0))
    image.SetOrigin(position)
    for tag, value in (("0020|0032", position), ("0020|0037", (1, 0, 0, 0, 1, 0)), ("0008|0060", "MR")):
        image.SetMetaData(tag, value if isinstance(value, str) else "\\".join(map(str, value)))
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = sitk.ImageFileWriter()  # every file gets its own series identifier, as in CHAOS
    writer.SetFileName(str(path))
    writer.Execute(image)


def write_png(path, grey):
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(grey.astype(np.uint8)), str(path))


def chaos_series(folder, images="DICOM_anon", dicom="IMG-0002-{:05d}.dcm", png="IMG-0002-{:05d}.png", grey=(63, 252)):
    """Twelve slices from feet to head against the order of their names; the organ climbs with the name."""
    truth = {}
    for n in range(12):
        pixels = np.full((7, 6), 100 + n)
        mask = np.zeros((7, 6))
        mask[2:4, 1:3], mask[5, 4] = grey[0], grey[-1]
        z = 200.0 - 6 * n
        write_dicom(folder / images / dicom.format(n + 1), pixels, (-20.0, -30.0, z), (1.25, 1.5))
        write_png(folder / "Ground" / png.format(n + 1), mask if n >= 4 else mask * 0)
        truth[z] = 100 + n
    return truth


@pytest.fixture
def chaos(tmp_path):
    root = tmp_path / "Train_Sets"
    for number in (1, 13):
        chaos_series(root / "MR" / str(number) / "T2SPIR")
        for phase in ("InPhase", "OutPhase"):
            chaos_series(root / "MR" / str(number) / "T1DUAL", f"DICOM_anon/{phase}")
        chaos_series(root / "CT" / str(number), dicom="i{:04d},0000b.dcm", png="liver_GT_{:03d}.png", grey=(255,))
    return root


def test_chaos_mr_slices_masks_and_positions(chaos, tmp_path):
    found = prepare(source("chaos"), zipped(chaos, tmp_path / "CHAOS_Train_Sets.zip"), tmp_path / "out")
    assert found.cases == 2
    assert "2 cases found, the complete data set has 20" in found.notices
    dataset = Dataset.load(tmp_path / "out")
    assert dataset.ids == ("case_01", "case_13")
    assert dataset.labels == {1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"}
    image, labels = read_image(dataset.case("case_01").image), labels_of(dataset, "case_01")
    assert image.grid.shape == (6, 7, 12)
    assert np.allclose(image.spacing, (1.25, 1.5, 6.0))
    # The highest slice is the first by name; world z and grey value have to fit.
    for k in range(12):
        assert image.grid.to_world((0, 0, k)) == pytest.approx((20, 30, 200 - 6 * 11 + 6 * k))
        assert image.data[0, 0, k] == 100 + (11 - k)
    assert (labels.data[1:3, 2:4, :8] == 1).all()
    assert (labels.data[4, 5, :8] == 4).all()
    assert not labels.data[..., 8:].any()


@pytest.mark.parametrize(("name", "labels"), [("chaos-t1-in", {1, 4}), ("chaos-t1-out", {1, 4}), ("chaos-ct", {1})])
def test_other_chaos_series(chaos, tmp_path, name, labels):
    prepare(source(name), chaos, tmp_path / "out")
    dataset = Dataset.load(tmp_path / "out")
    assert dataset.ids == ("case_01", "case_13")
    assert set(np.unique(labels_of(dataset, "case_13").data)) == {0} | labels


def test_chaos_with_a_lost_slice_or_mask(chaos, tmp_path):
    (chaos / "MR/1/T2SPIR/Ground/IMG-0002-00003.png").unlink()
    with pytest.raises(InputError, match="12 slices but 11 masks"):
        prepare(source("chaos"), chaos, tmp_path / "out")
    (chaos / "MR/1/T2SPIR/DICOM_anon/IMG-0002-00003.dcm").unlink()
    with pytest.raises(InputError, match="missing or double"):
        prepare(source("chaos"), chaos, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_chaos_with_a_strange_grey_level(chaos, tmp_path):
    write_png(chaos / "MR/1/T2SPIR/Ground/IMG-0002-00009.png", np.full((7, 6), 99))
    with pytest.raises(InputError, match="grey level 99"):
        prepare(source("chaos"), chaos, tmp_path / "out")


# ------------------------------------------------------------------------------------------------- NIfTI pairs


def test_btcv(tmp_path, scans):
    root = tmp_path / "RawData"
    for n in (1, 21):
        scans.write_image(root / f"Training/img/img{n:04d}.nii.gz", n)
        scans.write_labels(root / f"Training/label/label{n:04d}.nii.gz", scans.labels(*range(1, 14)))
    scans.write_image(root / "Testing/img/img0061.nii.gz", 61)
    found = prepare(source("btcv"), zipped(root, tmp_path / "RawData.zip"), tmp_path / "out")
    dataset = Dataset.load(tmp_path / "out")
    assert dataset.ids == ("case_0001", "case_0021")
    assert dataset.labels[6] == "liver"
    assert "30" in found.notices[-1]
    # The image is the file itself, byte for byte.
    original = (root / "Training/img/img0021.nii.gz").read_bytes()
    assert dataset.case("case_0021").image.read_bytes() == original
    assert (labels_of(dataset, "case_0001").data == scans.labels(*range(1, 14))).all()


def test_oasis_neurite(tmp_path, scans):
    root = tmp_path / "neurite-oasis.v1.0"
    for n in (1, 2):
        folder = root / f"OASIS_OAS1_{n:04d}_MR1"
        for name in ("aligned_norm", "norm", "orig"):
            scans.write_image(folder / f"{name}.nii.gz", n)
        for name in ("aligned_seg35", "seg35", "aligned_seg4"):
            scans.write_labels(folder / f"{name}.nii.gz", scans.labels(14, 35))
    prepare(source("oasis"), tarred(root, tmp_path / "neurite-oasis.v1.0.tar"), tmp_path / "out")
    dataset = Dataset.load(tmp_path / "out")
    assert dataset.ids == ("OASIS_OAS1_0001_MR1", "OASIS_OAS1_0002_MR1")
    assert (dataset.labels[14], dataset.labels[35]) == ("left hippocampus", "right choroid plexus")


def test_oasis_learn2reg(tmp_path, scans):
    root = tmp_path / "OASIS"
    for n in (1, 2, 3):
        scans.write_image(root / f"imagesTr/OASIS_{n:04d}_0000.nii.gz", n)
        scans.write_labels(root / f"labelsTr/OASIS_{n:04d}_0000.nii.gz", scans.labels(1, 20))
    prepare(source("oasis"), root, tmp_path / "out")
    assert Dataset.load(tmp_path / "out").ids == ("OASIS_0001", "OASIS_0002", "OASIS_0003")


def msd_task(root, scans, name, labels, channels=None):
    task = root / name
    facts = {"name": name, "labels": {str(k): v for k, v in labels.items()}, "modality": {"0": "MRI"}}
    for n in (1, 3):
        scans.write_labels(task / f"labelsTr/case_{n:03d}.nii.gz", scans.labels(*[v for v in labels if v]))
        if channels is None:
            scans.write_image(task / f"imagesTr/case_{n:03d}.nii.gz", n)
        else:
            (task / "imagesTr").mkdir(parents=True, exist_ok=True)
            stack = np.stack([scans.image(10 * n + c) for c in range(channels)], axis=3)
            nib.save(nib.Nifti1Image(stack, scans.grid.affine), task / f"imagesTr/case_{n:03d}.nii.gz")
        (task / f"imagesTr/._case_{n:03d}.nii.gz").write_bytes(b"left by macOS")
        (task / f"labelsTr/._case_{n:03d}.nii.gz").write_bytes(b"left by macOS")
    (task / "dataset.json").write_text(json.dumps(facts))
    return task


def test_msd_hippocampus(tmp_path, scans):
    task = msd_task(tmp_path, scans, "Task04_Hippocampus", {0: "background", 1: "Anterior", 2: "Posterior"})
    prepare(source("msd"), tarred(task, tmp_path / "Task04_Hippocampus.tar"), tmp_path / "out")
    dataset = Dataset.load(tmp_path / "out")
    assert dataset.ids == ("case_001", "case_003")
    assert dataset.labels == {1: "Anterior", 2: "Posterior"}
    assert (dataset.name, dataset.modality) == ("Medical Segmentation Decathlon, Task04_Hippocampus", "MRI")


def test_msd_channels(tmp_path, scans):
    task = msd_task(tmp_path, scans, "Task05_Prostate", {0: "background", 1: "PZ", 2: "TZ"}, channels=2)
    prepare(source("msd", channel=1), task, tmp_path / "out")
    dataset = Dataset.load(tmp_path / "out")
    image = read_image(dataset.case("case_003").image)
    assert (image.data == scans.image(31)).all()
    assert image.grid.matches(scans.grid)
    with pytest.raises(InputError, match="channels 0 to 1, not 2"):
        prepare(source("msd", channel=2), task, tmp_path / "other")


def test_msd_wants_one_task(tmp_path, scans):
    for name in ("Task02_Heart", "Task04_Hippocampus"):
        msd_task(tmp_path / "all", scans, name, {0: "background", 1: "x"})
    with pytest.raises(InputError, match="Task02_Heart, Task04_Hippocampus; give one task"):
        prepare(source("msd"), tmp_path / "all", tmp_path / "out")


def test_acdc_phases(tmp_path, scans):
    root = tmp_path / "ACDC" / "database"
    for part, patient, es in (("training", "patient001", 12), ("testing", "patient101", 14)):
        folder = root / part / patient
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text(f"ED: 1\nES: {es}\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\n")
        for frame in (1, es):
            scans.write_image(folder / f"{patient}_frame{frame:02d}.nii.gz", frame)
            scans.write_labels(folder / f"{patient}_frame{frame:02d}_gt.nii.gz", scans.labels(1, 2, 3))
    prepare(source("acdc"), root, tmp_path / "ed")
    prepare(source("acdc-es"), root, tmp_path / "es")
    assert Dataset.load(tmp_path / "ed").ids == ("patient001_frame01", "patient101_frame01")
    assert Dataset.load(tmp_path / "es").ids == ("patient001_frame12", "patient101_frame14")
    assert Dataset.load(tmp_path / "ed").labels[3] == "left ventricle"


def write_masks(folder, scans, masks):
    for name, data in masks.items():
        scans.write_labels(folder / f"{name}.nii.gz", data.astype(np.uint8))


def test_totalsegmentator_numbers_and_overlaps(tmp_path, scans):
    root = tmp_path / "Totalsegmentator_dataset_v201"
    large, small = np.zeros(scans.grid.shape, bool), np.zeros(scans.grid.shape, bool)
    large[1:8, 1:8, 1:7], small[3:5, 3:5, 3:5] = True, True
    for n in (0, 11):
        scans.write_image(root / f"s{n:04d}/ct.nii.gz", n)
        masks = {"liver": large, "gallbladder": small, "sternum": large & False}
        write_masks(root / f"s{n:04d}/segmentations", scans, masks)
    found = prepare(source("totalsegmentator"), zipped(root, tmp_path / "v201.zip"), tmp_path / "out")
    dataset = Dataset.load(tmp_path / "out")
    assert dataset.ids == ("s0000", "s0011")
    assert dataset.labels == {4: "gallbladder", 5: "liver", 116: "sternum"}  # its own numbers, version 2
    labels = labels_of(dataset, "s0011")
    assert (labels.data[small] == 4).all()  # the smaller one is kept where both are drawn
    assert (labels.data[large & ~small] == 5).all()
    assert "in none of the cases: sternum" in found.notices


def test_totalsegmentator_version_1_and_mri(tmp_path, scans):
    mask = np.ones(scans.grid.shape, bool)
    for n in (1, 2):
        scans.write_image(tmp_path / f"v1/s{n:04d}/ct.nii.gz", n)
        write_masks(tmp_path / f"v1/s{n:04d}/segmentations", scans, {"face": mask, "heart_myocardium": mask & False})
        scans.write_image(tmp_path / f"mr/s{n:04d}/mri.nii.gz", n)
        write_masks(tmp_path / f"mr/s{n:04d}/segmentations", scans, {"vertebrae": mask})
    prepare(source("totalsegmentator"), tmp_path / "v1", tmp_path / "out1")
    assert Dataset.load(tmp_path / "out1").labels == {44: "heart myocardium", 93: "face"}
    prepare(source("totalsegmentator-mr"), tmp_path / "mr", tmp_path / "out2")
    assert Dataset.load(tmp_path / "out2").labels == {1: "vertebrae"}


# ------------------------------------------------------------------------------------------------- NRRD


def test_avt_in_three_archives_with_cropped_segmentations(tmp_path, scans):
    download = tmp_path / "download"
    download.mkdir()
    full = scans.labels(1)
    for hospital, name in (("Dongyang", "D1"), ("KiTS", "K1"), ("Rider", "R1")):
        folder = tmp_path / hospital / name
        scans.write_image(folder / f"{name}.nrrd", ord(name[0]))
        # 3D Slicer stores what is drawn only: a box of the image's voxels with an origin of its own.
        box = (slice(0, 3), slice(1, 7), slice(1, 6))
        scans.write_labels(folder / f"{name}.seg.nrrd", full[box], scans.grid.cropped(box))
        zipped(tmp_path / hospital, download / f"{hospital}.zip")
    prepare(source("avt"), download, tmp_path / "out")
    dataset = Dataset.load(tmp_path / "out")
    assert dataset.ids == ("D1", "K1", "R1")
    for case_id in dataset.ids:
        image = read_image(dataset.case(case_id).image)
        assert image.grid.matches(scans.grid)
        assert (image.data == scans.image(ord(case_id[0]))).all()
        assert nib.load(dataset.case(case_id).image).get_data_dtype() == np.int16
        assert (labels_of(dataset, case_id).data == full).all()


def test_hanseg(tmp_path, scans):
    root = tmp_path / "HaN-Seg"
    for n in (1, 42):
        folder = root / f"set_1/case_{n:02d}"
        for kind in ("CT", "MR_T1"):
            scans.write_image(folder / f"case_{n:02d}_IMG_{kind}.nrrd", n)
        for organ, value in (("Brainstem", 1), ("SpinalCord", 2)):
            data = (scans.labels(1, 2) == value).astype(np.uint8)
            scans.write_labels(folder / f"case_{n:02d}_OAR_{organ}.seg.nrrd", data)
    (root / "set_1/OAR_data.csv").write_text("case;organ\n")
    found = prepare(source("hanseg"), zipped(root, tmp_path / "HaN-Seg.zip"), tmp_path / "out")
    dataset = Dataset.load(tmp_path / "out")
    assert dataset.ids == ("case_01", "case_42")
    data = labels_of(dataset, "case_42").data
    assert ((data == 5) == (scans.labels(1, 2) == 1)).all()  # the challenge's numbers
    assert ((data == 30) == (scans.labels(1, 2) == 2)).all()
    assert any("in none of the cases" in n and "Pituitary" in n for n in found.notices)
