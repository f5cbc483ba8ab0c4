"""DICOM series in: each kind read right or refused in one line."""

from __future__ import annotations

import shutil
import zipfile

import gdcm
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from atlassegfm.errors import GeometryError, InputError
from atlassegfm.io import read_image
from dicom_files import noise, slanted, uid, write_enhanced, write_series

#: Positions go through decimal strings of 16 characters.
WORLD_TOLERANCE_MM = 1e-6


def assert_world(volume, stored, affine, scaling=None):
    """Values and positions, for a volume whose slices may come in the other order than they were written."""
    values = stored.astype(np.float64)
    for k in range(stored.shape[2]):
        slope, inter = (1.0, -1024.0) if scaling is None else scaling[k]
        values[..., k] = stored[..., k] * slope + inter
    lps = np.diag([-1, -1, 1]) @ affine[:3, :3]
    if np.cross(lps[:, 0], lps[:, 1]) @ lps[:, 2] < 0:
        values = values[..., ::-1]
        affine = affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, stored.shape[2] - 1], [0, 0, 0, 1]])
    np.testing.assert_allclose(volume.affine, affine, atol=WORLD_TOLERANCE_MM)
    np.testing.assert_allclose(volume.data, values, rtol=1e-6)


@pytest.mark.parametrize("flip", [1, -1])
@pytest.mark.parametrize("modality", ["CT", "MR", "PT"])
def test_a_series_with_names_in_no_order(tmp_path, flip, modality):
    stored, affine = noise(), slanted(flip=flip)
    names = ["b", "IM9", "IM10", "a.ima", "z.dcm"]
    scaling = [(0.5 * k + 0.25, float(k)) for k in range(5)] if modality == "PT" else [(2.0, 5.0)] * 5
    write_series(tmp_path / "in" / "deep", stored, affine, modality=modality, names=names, scaling=scaling)
    (tmp_path / "in" / "readme.txt").write_text("not an image")
    volume = read_image(tmp_path / "in")
    assert_world(volume, stored, affine, scaling)
    assert volume.meta["notices"] == ()
    assert volume.data.flags.c_contiguous


def test_simpleitk_agrees(tmp_path):
    write_series(tmp_path, noise(dtype="u2"), slanted())
    volume = read_image(tmp_path)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    other = reader.Execute()
    for ijk in ((0, 0, 0), (8, 6, 4), (3, 5, 1)):
        ras = np.array(other.TransformIndexToPhysicalPoint(ijk)) * (-1, -1, 1)
        np.testing.assert_allclose(volume.grid.to_world(ijk), ras, atol=1e-4)
        assert volume.data[ijk] == other[ijk]


def test_all_orientations(tmp_path, axis_orders):
    stored = noise((4, 5, 3))
    for n, axes in enumerate(axis_orders):
        affine = np.eye(4)
        affine[:3, :3], affine[:3, 3] = axes * (0.5, 1.25, 3.0), (10, -20, 30)
        write_series(tmp_path / str(n), stored, affine)
        assert_world(read_image(tmp_path / str(n)), stored, affine)


@pytest.mark.parametrize("varying", [False, True])
def test_enhanced_multiframe(tmp_path, varying):
    stored, affine = noise(dtype="u2"), slanted()
    scaling = [(1.0 + varying * k, -1000.0) for k in range(5)]
    write_enhanced(tmp_path / "one", stored, affine, scaling=scaling)
    for path in (tmp_path / "one", tmp_path):
        assert_world(read_image(path), stored, affine, scaling)


def test_a_zip_is_read_in_place(tmp_path):
    stored, affine = noise(), slanted()
    files = write_series(tmp_path / "in", stored, affine)
    with zipfile.ZipFile(tmp_path / "scan.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for n, path in enumerate(files):
            archive.write(path, f"../../evil/{n}" if n else "/etc/passwd")
        archive.writestr("notes.txt", "x" * 1000)
    before = sorted(tmp_path.rglob("*"))
    assert_world(read_image(tmp_path / "scan.zip"), stored, affine)
    assert sorted(tmp_path.rglob("*")) == before


def test_zip_bombs_and_damaged_archives_are_refused(tmp_path):
    bomb = tmp_path / "bomb.zip"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(128) + b"DICM" + bytes(200 << 20))
    with pytest.raises(InputError, match="more than a scan can"):
        read_image(bomb)
    (tmp_path / "text.zip").write_text("hello")
    with pytest.raises(InputError, match="ZIP"):
        read_image(tmp_path / "text.zip")
    block = bytearray(bomb.read_bytes())
    block[6] |= 1
    block[block.index(b"PK\1\2") + 8] |= 1
    bomb.write_bytes(block)
    with pytest.raises(InputError, match="encrypted"):
        read_image(bomb)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless], ids=lambda s: s.name)
def test_compressed(tmp_path, syntax):
    stored, affine = noise((64, 48, 4), dtype="u2"), slanted()
    write_series(tmp_path, stored, affine, syntax=syntax)
    assert_world(read_image(tmp_path), stored, affine)


def test_jpeg_lossless_by_gdcm(tmp_path):
    stored, affine = noise(dtype="u2"), slanted()
    for path in write_series(tmp_path, stored, affine):
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(path))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(path))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
        assert pydicom.dcmread(path).file_meta.TransferSyntaxUID == pydicom.uid.JPEGLosslessSV1
    assert_world(read_image(tmp_path), stored, affine)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian, None])
def test_other_encodings_and_no_preamble(tmp_path, syntax):
    stored, affine = noise(), slanted()
    for path in write_series(tmp_path, stored, affine):
        dataset = pydicom.dcmread(path)
        if syntax is None:
            plain = pydicom.Dataset(dataset)
            pydicom.dcmwrite(path, plain, implicit_vr=True, little_endian=True, enforce_file_format=False)
            assert path.read_bytes()[128:132] != b"DICM"
            continue
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = dataset.pixel_array.astype(">i2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(path, dataset, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian)
    assert_world(read_image(tmp_path), stored, affine)


def two_series(folder):
    write_series(folder, noise(), slanted(), series="one", names=[f"a{k}" for k in range(5)])
    more = {"SeriesNumber": 7, "SeriesDescription": "of Quixote"}
    write_series(
        folder, noise((4, 4, 6)), slanted(), series="two", modality="MR", names=[f"b{k}" for k in range(6)], more=more
    )
    return folder


def test_several_series_are_listed_and_chosen(tmp_path):
    two_series(tmp_path)
    with pytest.raises(InputError, match="choose with --series") as caught:
        read_image(tmp_path)
    line = str(caught.value)
    assert '1 = CT series 3 "thin" 9 x 7 x 5 of 1.5 x 0.75 mm' in line
    assert "2 = MR series 7 4 x 4 x 6" in line
    assert "Quixote" not in line
    assert read_image(tmp_path, series="2").grid.shape == (4, 4, 6)
    assert read_image(tmp_path, series=uid("one")).grid.shape == (9, 7, 5)
    assert read_image(tmp_path, prefer=uid("two")).grid.shape == (4, 4, 6)
    for wrong in ("3", "0", "1.2.3", "first"):
        with pytest.raises(InputError, match="choose by number"):
            read_image(tmp_path, series=wrong)


def test_a_series_chosen_for_a_file_of_another_format(tmp_path, image):
    from atlassegfm.io import write_image

    write_image(tmp_path / "x.nii.gz", image)
    with pytest.raises(InputError, match="not DICOM"):
        read_image(tmp_path / "x.nii.gz", series="1")


def test_localisers_and_single_images_are_left_out(tmp_path):
    stored, affine = noise(), slanted()
    write_series(tmp_path, stored, affine)
    turned = slanted()[:, [0, 2, 1, 3]]
    more = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write_series(tmp_path / "scout", noise((20, 20, 2)), turned, more=more, names=["s0", "s1"], series="scout")
    write_series(tmp_path / "dose", noise((12, 12, 1)), turned, names=["d0"], series="dose")
    volume = read_image(tmp_path)
    assert_world(volume, stored, affine)
    assert "3 other images left out (localiser, single image)" in volume.meta["notices"][0]


def test_echoes_and_phases_of_one_series_are_told_apart(tmp_path):
    for echo in (4.6, 9.2):
        names = [f"{echo}-{k}" for k in range(5)]
        more = {"EchoTime": echo, "SOPInstanceUID": None}
        paths = write_series(tmp_path, noise() + int(echo), slanted(), names=names, modality="MR", more=more)
        for k, path in enumerate(paths):
            dataset = pydicom.dcmread(path)
            dataset.SOPInstanceUID = uid(echo, k)
            dataset.save_as(path)
    with pytest.raises(InputError, match=r"EchoTime 4\.6.*EchoTime 9\.2"):
        read_image(tmp_path)
    assert read_image(tmp_path, series="2").data[0, 0, 0] == noise()[0, 0, 0] + 9 - 1024


def test_copies_of_a_file_count_once(tmp_path):
    stored, affine = noise(), slanted()
    paths = write_series(tmp_path, stored, affine)
    shutil.copyfile(paths[2], tmp_path / "copy of 2.dcm")
    assert_world(read_image(tmp_path), stored, affine)


def test_two_slices_at_one_position_are_refused(tmp_path):
    paths = write_series(tmp_path, noise(), slanted())
    dataset = pydicom.dcmread(paths[2])
    dataset.SOPInstanceUID = uid("another")
    dataset.save_as(tmp_path / "again.dcm")
    with pytest.raises(GeometryError, match=r"1 positions have two slices.*again\.dcm"):
        read_image(tmp_path)


def test_missing_slices_are_refused(tmp_path):
    write_series(tmp_path, noise((4, 4, 9)), slanted(), slices=[0, 1, 2, 5, 6, 7, 8])
    with pytest.raises(GeometryError, match=r"2 slices are missing: 7 are there, 2\.5 mm apart, but 7\.5 mm"):
        read_image(tmp_path)


def shifted(paths, moves):
    for path, move in zip(paths, moves, strict=True):
        dataset = pydicom.dcmread(path)
        dataset.ImagePositionPatient = [float(x) + y for x, y in zip(dataset.ImagePositionPatient, move, strict=True)]
        dataset.save_as(path)


def upright():
    return np.diag([-1.0, -1.0, 2.0, 1.0])


def test_varying_steps_and_slices_beside_the_line_are_refused(tmp_path):
    shifted(write_series(tmp_path / "a", noise(), upright()), [(0, 0, z) for z in (0, 0, 0, 1, 2)])
    with pytest.raises(GeometryError, match="varies from 2 to 3 mm"):
        read_image(tmp_path / "a")
    shifted(write_series(tmp_path / "b", noise(), upright()), [(0, y, 0) for y in (0, 3, 0, 3, 0)])
    with pytest.raises(GeometryError, match="3 mm beside the line"):
        read_image(tmp_path / "b")


def test_rounded_positions_are_read_with_a_notice(tmp_path):
    shifted(write_series(tmp_path, noise(), upright()), [(0, 0, z) for z in (0, 0.05, -0.05, 0.05, 0)])
    assert "0.050 mm off even steps of 2 mm" in read_image(tmp_path).meta["notices"][0]


def test_gantry_tilt_leans_the_grid(tmp_path):
    stored, affine = noise(), upright()
    affine[:3, 2] = 0, np.tan(np.radians(15)) * 2, 2
    write_series(tmp_path, stored, affine)
    volume = read_image(tmp_path)
    assert_world(volume, stored, affine)
    assert "leans by 15.0 degrees" in volume.meta["notices"][0]


def changed(path, **values):
    dataset = pydicom.dcmread(path)
    for key, value in values.items():
        if value is None:
            del dataset[key]
        else:
            setattr(dataset, key, value)
    dataset.save_as(path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"ImagePositionPatient": None}, "without positions"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.5, 0.8, 0]}, "right angles"),
        ({"PixelSpacing": [0, 1]}, "above 0 mm"),
        ({"PixelSpacing": ["1e300", "1e300"]}, "beyond"),
        ({"ImageOrientationPatient": ["1e300", 0, 0, 0, 1, 0]}, "right angles"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"Rows": 60_000, "Columns": 60_000}, "voxels"),
        ({"Rows": 15_000, "Columns": 15_000}, "decoded"),
        ({"BitsAllocated": 7}, "decoded"),
        ({"PixelData": b"\0" * 10}, "decoded"),
        ({"Rows": None}, "damaged DICOM header"),
        ({"ModalityLUTSequence": [pydicom.Dataset()]}, "lookup table"),
    ],
)
def test_headers_that_cannot_be_trusted(tmp_path, values, words):
    for path in write_series(tmp_path, noise(), slanted()):
        changed(path, **values)
    with pytest.raises(InputError, match=words) as caught:
        read_image(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_stops_the_series(tmp_path):
    paths = write_series(tmp_path, noise(), slanted())
    block = paths[4].read_bytes()
    for size in (133, 200, 500, 900, 1300, len(block) - 5):
        paths[4].write_bytes(block[:size])
        with pytest.raises(InputError, match=r"0004\.dcm"):
            read_image(tmp_path)


def test_folders_without_a_volume(tmp_path):
    with pytest.raises(InputError, match="no DICOM image"):
        read_image(tmp_path)
    (path,) = write_series(tmp_path, noise(), slanted(), slices=[1])
    with pytest.raises(InputError, match="folder with all slices"):
        read_image(path)


def test_a_constant_scan_is_refused(tmp_path):
    write_series(tmp_path, np.zeros((4, 4, 3), "i2"), slanted())
    with pytest.raises(InputError, match="nothing to segment"):
        read_image(tmp_path)
