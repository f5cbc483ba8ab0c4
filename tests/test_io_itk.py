from __future__ import annotations

import re

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st

from atlassegfm.errors import GeometryError, InputError
from atlassegfm.io import read_image, read_labels, write_image, write_labels
from atlassegfm.volume import Grid, Volume

#: NRRD and MetaImage keep 17 digits; what is left is rounding in the direction matrix.
WORLD_TOLERANCE_MM = 1e-9
SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
NRRD = """NRRD0004
type: float
dimension: 3
{space}
sizes: 4 3 2
{directions}
encoding: raw
endian: {endian}
{extra}

"""
DIRECTIONS = "space directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (10,20,30)"


def noise(shape=(5, 6, 7)):
    return np.random.default_rng(1).normal(100, 30, shape).astype(np.float32)


def volume_on(matrix, spacing=(1.5, 2.0, 3.5), origin=(10.0, -20.0, 30.0)):
    affine = np.eye(4)
    affine[:3, :3] = matrix * np.array(spacing)
    affine[:3, 3] = origin
    return Volume(noise(), Grid((5, 6, 7), affine))


def write_nrrd(path, *, space="space: left-posterior-superior", directions=DIRECTIONS, extra="", big=False):
    text = NRRD.format(space=space, directions=directions, extra=extra, endian="big" if big else "little")
    header = re.sub(r"\n\n+", "\n", text).rstrip("\n") + "\n\n"
    values = np.arange(24, dtype=">f4" if big else "<f4")
    path.write_bytes(header.encode() + values.tobytes())
    return path


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_simpleitk_files_keep_world_coordinates_on_all_axis_orders(tmp_path, axis_orders, suffix):
    """World positions by SimpleITK's own point arithmetic against ours, voxel by voxel."""
    path = tmp_path / f"x{suffix}"
    for axes in axis_orders:
        image = sitk.GetImageFromArray(noise((7, 6, 5)))
        image.SetSpacing((1.5, 2.0, 3.5))
        image.SetOrigin((-10.0, 20.0, 30.0))
        image.SetDirection(axes.ravel().tolist())
        sitk.WriteImage(image, str(path))
        volume = read_image(path)
        assert volume.grid.shape == (5, 6, 7)
        for ijk in ((0, 0, 0), (4, 5, 6), (1, 3, 2)):
            ras = np.array(image.TransformIndexToPhysicalPoint(ijk)) * (-1, -1, 1)
            assert np.allclose(volume.grid.to_world(ijk), ras, atol=WORLD_TOLERANCE_MM)
            assert volume.data[ijk] == image[ijk]


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".NRRD", ".MHA"])
def test_written_files_come_back_on_all_axis_orders(tmp_path, axis_orders, suffix):
    path = tmp_path / f"x{suffix}"
    for axes in axis_orders:
        volume = volume_on(axes)
        write_image(path, volume)
        back = read_image(path)
        assert back.grid.matches(volume.grid, WORLD_TOLERANCE_MM)
        assert np.array_equal(back.data, volume.data)


numbers = st.floats(-1, 1)


@given(
    rows=st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=3, max_size=3),
    spacing=st.tuples(*[st.floats(0.3, 9)] * 3),
    origin=st.tuples(*[st.floats(-400, 400)] * 3),
    flip=st.sampled_from((-1, 1)),
    suffix=st.sampled_from((".nrrd", ".mha")),
)
def test_oblique_sheared_and_left_handed_grids_come_back(tmp_path, rows, spacing, origin, flip, suffix):
    volume = volume_on((np.array(rows) * 0.3 + np.eye(3)) @ np.diag([flip, 1, 1]), spacing, origin)
    write_image(tmp_path / f"x{suffix}", volume)
    assert read_image(tmp_path / f"x{suffix}").grid.matches(volume.grid, WORLD_TOLERANCE_MM)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_labels_names_and_bytes(tmp_path, image, labels, suffix):
    names = {1: 'ösophagus = "x"', 3: "liver"}
    for name in ("a", "b"):
        write_labels(tmp_path / (name + suffix), labels, image, names)
    assert (tmp_path / ("a" + suffix)).read_bytes() == (tmp_path / ("b" + suffix)).read_bytes()
    back = read_labels(tmp_path / ("a" + suffix))
    assert back.data.dtype == np.uint8
    assert np.array_equal(back.data, labels.data)
    assert back.meta["label_names"] == names


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_nifti_labels_for_such_an_image_lie_at_the_same_place(tmp_path, oblique_grid, suffix):
    image = sitk.GetImageFromArray(noise(oblique_grid.shape[::-1]))
    image.SetSpacing((1.5, 2.0, 3.5))
    image.SetOrigin((-10.0, 20.0, 30.0))
    image.SetDirection((0, -1, 0, 0.8, 0, -0.6, 0.6, 0, 0.8))
    sitk.WriteImage(image, str(tmp_path / f"x{suffix}"))
    volume = read_image(tmp_path / f"x{suffix}")
    write_labels(tmp_path / "seg.nii.gz", volume.with_data((volume.data > 100).astype(np.uint8)), volume)
    other = sitk.ReadImage(str(tmp_path / "seg.nii.gz"))
    for ijk in ((0, 0, 0), (5, 4, 6)):
        expected = image.TransformIndexToPhysicalPoint(ijk)
        assert np.allclose(other.TransformIndexToPhysicalPoint(ijk), expected, atol=1e-4)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_singleton_fourth_axis_is_dropped_and_a_real_one_refused(tmp_path, suffix):
    one, two = tmp_path / f"one{suffix}", tmp_path / f"two{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(noise((1, 7, 6, 5)), isVector=False), str(one))
    sitk.WriteImage(sitk.GetImageFromArray(noise((2, 7, 6, 5)), isVector=False), str(two))
    assert np.array_equal(read_image(one).data, noise((1, 7, 6, 5))[0].transpose(2, 1, 0))
    with pytest.raises(InputError, match="2 volumes"):
        read_image(two)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_vectors_complex_and_2d_images_are_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(noise((7, 6, 5, 3)), isVector=True), str(path))
    with pytest.raises(InputError, match="one number per voxel"):
        read_image(path)
    sitk.WriteImage(sitk.GetImageFromArray(noise((6, 5))), str(path))
    with pytest.raises(InputError, match="2D"):
        read_image(path)


@pytest.mark.parametrize(
    ("space", "sign"), [("left-posterior-superior", (-1, -1)), ("right-anterior-superior", (1, 1)), ("LAS", (-1, 1))]
)
def test_nrrd_spaces(tmp_path, space, sign):
    volume = read_image(write_nrrd(tmp_path / "x.nrrd", space=f"space: {space}"))
    expected = np.diag([2.0 * sign[0], 3.0 * sign[1], 4.0, 1.0])
    expected[:3, 3] = 10 * sign[0], 20 * sign[1], 30
    assert np.allclose(volume.affine, expected)
    assert volume.meta["notices"] == ()


def test_nrrd_without_a_space_is_read_with_a_notice(tmp_path):
    volume = read_image(write_nrrd(tmp_path / "x.nrrd", space="", directions="spacings: 2 3 4"))
    assert np.allclose(np.abs(volume.affine[:3, :3]), np.diag([2, 3, 4]))
    assert "assumed" in volume.meta["notices"][0]


@pytest.mark.parametrize(("unit", "factor"), [("mm", 1), ("m", 1000), ("um", 0.001), ("parsec", 1)])
def test_nrrd_units(tmp_path, unit, factor):
    volume = read_image(write_nrrd(tmp_path / "x.nrrd", extra=f'space units: "{unit}" "{unit}" "{unit}"'))
    assert np.allclose(volume.spacing, np.array([2, 3, 4]) * factor)
    assert len(volume.meta["notices"]) == (unit != "mm")


def test_big_endian_nrrd(tmp_path):
    volume = read_image(write_nrrd(tmp_path / "x.nrrd", big=True))
    assert np.array_equal(volume.data, np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 1, 0))


def compressed(path):
    write_image(path, volume_on(np.eye(3)))
    return path.read_bytes()


def truncated_raw(path):
    sitk.WriteImage(sitk.GetImageFromArray(noise()), str(path))
    path.write_bytes(path.read_bytes()[:-9])


def damaged(path):
    block = bytearray(compressed(path))
    block[-90] ^= 0xFF
    path.write_bytes(block)


def raw(match):
    return b"raw" if match.group() == b"gzip" else b"CompressedData = False"


def huge(path):
    sitk.WriteImage(sitk.GetImageFromArray(noise()), str(path))
    path.write_bytes(path.read_bytes().replace(b"7 6 5", b"90000 90000 90000"))


BAD = {
    "text": (lambda p: p.write_text("hello"), "not a"),
    "binary": (lambda p: p.write_bytes(bytes(range(256)) * 9), "not a"),
    "header only": (lambda p: p.write_bytes(compressed(p)[:60]), "no "),
    "truncated": (truncated_raw, "truncated"),
    "truncated compressed": (lambda p: p.write_bytes(compressed(p)[:-90]), "truncated"),
    "damaged compressed": (damaged, "damaged|SimpleITK cannot read"),
    "compressed says raw": (
        lambda p: p.write_bytes(re.sub(rb"(gzip|CompressedData = True)", raw, compressed(p))),
        "trunc",
    ),
    "huge": (huge, "90000 x 90000 x 90000"),
}


@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
@pytest.mark.parametrize("case", BAD)
def test_unusable_files_give_one_line_and_no_noise(tmp_path, capfd, case, suffix):
    make, word = BAD[case]
    path = tmp_path / f"bad{suffix}"
    make(path)
    with pytest.raises(InputError, match=word) as caught:
        read_image(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("line", [b"CompressedDataSize = 99\n", b""])
def test_a_wrong_compressed_size_does_not_matter(tmp_path, line):
    """SimpleITK gives noise here, and no error."""
    block = compressed(tmp_path / "x.mha")
    (tmp_path / "x.mha").write_bytes(re.sub(rb"CompressedDataSize = \d+\n", line, block))
    assert np.array_equal(read_image(tmp_path / "x.mha").data, noise())


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_voxels_are_those_that_simpleitk_reads(tmp_path, suffix, compress, dtype):
    path = tmp_path / f"x{suffix}"
    data = np.random.default_rng(0).integers(0, 100, (7, 6, 5)).astype(dtype)
    sitk.WriteImage(sitk.GetImageFromArray(data), str(path), compress)
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose(2, 1, 0)
    assert np.array_equal(read_image(path, dtype=np.float64).data, expected)


def test_layouts_left_to_simpleitk(tmp_path):
    header = "NDims = 3\nDimSize = 4 3 2\nElementSpacing = 1 1 1\nElementType = MET_SHORT\n"
    values = np.arange(24, dtype=np.int16)
    (tmp_path / "text.mha").write_text(
        header + "BinaryData = False\nElementDataFile = LOCAL\n" + " ".join(map(str, values)) + "\n"
    )
    (tmp_path / "x.raw").write_bytes(b"skip me!" + values.tobytes())
    (tmp_path / "skip.mhd").write_text(header + "BinaryData = True\nHeaderSize = 8\nElementDataFile = x.raw\n")
    for k in range(2):
        (tmp_path / f"{k}.raw").write_bytes(values[k * 12 : k * 12 + 12].tobytes())
    (tmp_path / "list.mhd").write_text(header + "BinaryData = True\nElementDataFile = LIST\n0.raw\n1.raw\n")
    big = values.astype(">i2").tobytes()
    (tmp_path / "big.mha").write_bytes(
        (header + "BinaryData = True\nBinaryDataByteOrderMSB = True\nElementDataFile = LOCAL\n").encode() + big
    )
    for name in ("text.mha", "skip.mhd", "list.mhd", "big.mha"):
        assert np.array_equal(read_image(tmp_path / name).data, values.reshape(2, 3, 4).transpose(2, 1, 0)), name


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_a_missing_data_file_is_named(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    sitk.WriteImage(sitk.GetImageFromArray(noise()), str(path))
    (tmp_path / "x.raw").unlink()
    with pytest.raises(InputError, match=r"data file 'x\.raw' is not beside it"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".nhdr", ".mhd"])
def test_detached_headers_are_not_written(tmp_path, image, suffix):
    with pytest.raises(InputError, match=r"use \.nrrd or \.mha"):
        write_image(tmp_path / f"x{suffix}", image)
    assert list(tmp_path.iterdir()) == []


def test_axes_without_length_are_refused(tmp_path):
    flat = "space directions: (2,0,0) (0,3,0) (0,0,0)\nspace origin: (0,0,0)"
    with pytest.raises(GeometryError, match="affine"):
        read_image(write_nrrd(tmp_path / "x.nrrd", directions=flat))
    write_image(tmp_path / "x.mha", volume_on(np.eye(3)))
    block = (tmp_path / "x.mha").read_bytes()
    (tmp_path / "x.mha").write_bytes(re.sub(rb"TransformMatrix = .*", b"TransformMatrix = 1 0 0 1 0 0 0 0 1", block))
    with pytest.raises(GeometryError, match="affine"):
        read_image(tmp_path / "x.mha")
