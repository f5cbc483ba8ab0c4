from __future__ import annotations

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given
from hypothesis import strategies as st

from atlassegfm.errors import GeometryError, InputError
from atlassegfm.io import read_image, read_labels, write_image, write_labels
from atlassegfm.io.nifti import FORM_TOLERANCE_MM
from atlassegfm.volume import Grid, Volume

#: Headers hold float32; positions some hundred mm from the origin are good to this.
WORLD_TOLERANCE_MM = 1e-3
GEOMETRY_FIELDS = (
    "pixdim", "xyzt_units", "sform_code", "qform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y",
    "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip


def save(path, data, affine=None, *, sform=2, qform=1, unit="mm", big=False, cls=nib.Nifti1Image, dtype=None):
    header = cls.header_class(endianness=">" if big else "<")
    header.set_data_dtype(dtype or data.dtype)
    image = cls(data, np.eye(4) if affine is None else affine, header)
    image.set_sform(image.affine, sform)
    image.set_qform(image.affine, qform)
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


def noise(shape=(5, 6, 7), dtype=np.float32):
    return np.random.default_rng(1).normal(100, 30, shape).astype(dtype)


def raw_header(path):
    block = path.read_bytes()
    block = gzip.decompress(block) if block[:2] == b"\x1f\x8b" else block
    order = "<" if struct.unpack("<i", block[:4])[0] in (348, 540) else ">"
    size = struct.unpack(order + "i", block[:4])[0]
    cls = nib.Nifti1Header if size == 348 else nib.Nifti2Header
    return cls(block[:size], order, check=False)


def patched(path, field, value):
    """The file with one header field set to what nibabel would not write."""
    header = raw_header(path)
    header[field] = value
    path.write_bytes(header.binaryblock + path.read_bytes()[len(header.binaryblock) :])
    return path


def assert_same_geometry(query, written):
    first, second = raw_header(query), raw_header(written)
    assert first.endianness == second.endianness
    for field in GEOMETRY_FIELDS:
        assert first[field].tobytes() == second[field].tobytes(), field
    assert np.array_equal(nib.load(query).affine, nib.load(written).affine)


@st.composite
def rotations(draw):
    quaternion = np.array([draw(st.floats(-1, 1)) for _ in range(4)])
    quaternion = quaternion / np.linalg.norm(quaternion) if np.linalg.norm(quaternion) > 0.1 else np.eye(4)[0]
    return nib.quaternions.quat2mat(quaternion)


@st.composite
def affines(draw):
    flips = np.array([draw(st.sampled_from((-1, 1))) for _ in range(3)])
    spacing = np.array([draw(st.floats(0.3, 9)) for _ in range(3)])
    affine = np.eye(4)
    affine[:3, :3] = draw(rotations()) * spacing * flips
    affine[:3, 3] = [draw(st.floats(-400, 400)) for _ in range(3)]
    return affine


@given(
    affine=affines(),
    codes=st.sampled_from(((2, 1), (0, 1), (1, 0), (0, 0), (4, 4))),
    unit=st.sampled_from(("mm", "meter", "micron", "unknown")),
    big=st.booleans(),
    cls=st.sampled_from((nib.Nifti1Image, nib.Nifti2Image)),
    extra=st.sampled_from(((), (1,), (1, 1))),
    suffix=st.sampled_from((".nii", ".nii.gz", ".NII.GZ")),
)
def test_labels_get_the_query_s_geometry_bit_for_bit(tmp_path, affine, codes, unit, big, cls, extra, suffix):
    query = tmp_path / f"query{suffix.lower()}"
    affine[:3] *= 1000 if unit == "micron" else 1
    save(query, noise((5, 6, 7, *extra)), affine, sform=codes[0], qform=codes[1], unit=unit, big=big, cls=cls)
    volume = read_image(query)
    factor = {"meter": 1000, "micron": 0.001}.get(unit, 1)
    assert np.array_equal(volume.affine, np.diag([factor] * 3 + [1.0]) @ nib.load(query).affine)
    labels = Volume((volume.data > 100).astype(np.int64) * 300, volume.grid)
    written = tmp_path / f"seg{suffix}"
    write_labels(written, labels, volume, {300: "liver"})
    readable = tmp_path / f"seg_readable{suffix.lower()}"
    readable.write_bytes(written.read_bytes())
    assert_same_geometry(query, readable)
    out = nib.load(readable)
    assert out.shape == (5, 6, 7)
    assert out.get_data_dtype().newbyteorder("=") == np.uint16
    assert np.array_equal(np.asarray(out.dataobj), labels.data)
    assert (raw_header(readable)["scl_slope"], raw_header(readable)["scl_inter"]) == (1, 0)
    again = read_labels(written)
    assert again.grid.matches(volume.grid, 1e-12)
    assert again.meta["label_names"] == {300: "liver"}


@given(affine=affines(), shear=st.floats(-0.3, 0.3))
def test_new_headers_keep_world_coordinates(tmp_path, affine, shear):
    affine[:3, 0] += shear * affine[:3, 1]
    volume = Volume(noise(), Grid((5, 6, 7), affine))
    path = tmp_path / "x.nii"
    write_image(path, volume)
    back = read_image(path)
    assert np.array_equal(back.data, volume.data)
    assert back.grid.matches(volume.grid, WORLD_TOLERANCE_MM)
    assert np.allclose(nib.load(path).affine, affine, atol=WORLD_TOLERANCE_MM / 10)
    assert back.meta["notices"] == ()


def test_simpleitk_reads_the_same_world_coordinates(tmp_path, axis_orders):
    """An independent reader, on all 48 axis orders and flips, through a file with a name extension."""
    path = tmp_path / "x.nii.gz"
    for axes in axis_orders:
        affine = np.eye(4)
        affine[:3, :3] = axes * (1.5, 2, 3.5)
        affine[:3, 3] = 10, -20, 30
        volume = Volume(noise(), Grid((5, 6, 7), affine))
        labels = volume.with_data((volume.data > 100).astype(np.uint8))
        write_labels(path, labels, volume, {1: "liver"})
        other = sitk.ReadImage(str(path))
        for ijk in ((0, 0, 0), (4, 5, 6), (1, 3, 2)):
            lps = np.array(other.TransformIndexToPhysicalPoint(ijk))
            assert np.allclose(lps * (-1, -1, 1), volume.grid.to_world(ijk), atol=WORLD_TOLERANCE_MM)
            assert other[ijk] == labels.data[ijk]


def test_new_headers_have_equal_sform_and_qform(tmp_path, image):
    write_image(tmp_path / "x.nii.gz", image)
    header = nib.load(tmp_path / "x.nii.gz").header
    assert (header["sform_code"], header["qform_code"]) == (1, 1)
    assert np.allclose(header.get_sform(), header.get_qform(), atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"


def test_a_header_of_another_grid_is_not_kept(tmp_path, image):
    write_image(tmp_path / "x.nii", image)
    read = read_image(tmp_path / "x.nii")
    moved = Grid(read.grid.shape, read.affine + np.eye(4, k=3) * 5)
    write_image(tmp_path / "y.nii", Volume(read.data, moved, read.meta))
    assert read_image(tmp_path / "y.nii").grid.matches(moved)


@given(
    st.sampled_from([np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64]),
    st.booleans(),
)
def test_every_scalar_type_and_byte_order(tmp_path, dtype, big):
    data = np.random.default_rng(0).integers(0, 100, (4, 5, 6)).astype(dtype)
    volume = read_image(save(tmp_path / "x.nii", data, big=big))
    assert volume.data.dtype == np.float32
    assert volume.data.dtype.isnative
    assert volume.data.flags.c_contiguous
    assert np.array_equal(volume.data, data)
    labels = read_labels(tmp_path / "x.nii")
    assert labels.data.dtype == np.uint8
    assert np.array_equal(labels.data, data)


@pytest.mark.parametrize(("slope", "inter"), [(2.5, -1024), (0.1, 0), (-1, 7)])
def test_slope_and_intercept_as_nibabel_applies_them(tmp_path, slope, inter):
    path = save(tmp_path / "x.nii", noise(dtype=np.int16))
    patched(patched(path, "scl_slope", slope), "scl_inter", inter)
    assert np.array_equal(read_image(path).data, nib.load(path).get_fdata().astype(np.float32))
    assert np.array_equal(read_image(path, dtype=np.float64).data, nib.load(path).get_fdata())


def test_scaled_labels_of_a_float_file_are_read(tmp_path):
    values = np.random.default_rng(0).integers(0, 4, (4, 5, 6)).astype(np.float64)
    path = save(tmp_path / "x.nii.gz", values, dtype=np.uint8)  # nibabel scales by 3/255 here
    assert raw_header(path)["scl_slope"] == pytest.approx(3 / 255)
    assert np.array_equal(read_labels(path).data, values)


@pytest.mark.parametrize("slope", [0.0, np.nan, np.inf])
def test_unset_slope_means_no_scaling(tmp_path, slope):
    data = noise(dtype=np.int16)
    assert np.array_equal(read_image(patched(save(tmp_path / "x.nii", data), "scl_slope", slope)).data, data)


def test_sform_wins_over_a_different_qform_with_a_notice(tmp_path):
    data, path = noise(), tmp_path / "x.nii"
    image = nib.Nifti1Image(data, None)
    moved = np.diag([2, 2, 3, 1.0])
    moved[0, 3] = 10 * FORM_TOLERANCE_MM
    image.set_sform(moved, 1)
    image.set_qform(np.diag([2, 2, 3, 1.0]), 1)
    nib.save(image, path)
    volume = read_image(path)
    assert np.array_equal(volume.affine, image.get_sform())
    assert volume.meta["notices"] == ("x.nii: no unit of length in the header; millimetres assumed",
                                      "x.nii: sform and qform place voxels up to 1.0 mm apart; sform used")  # fmt: skip
    write_image(tmp_path / "y.nii", volume)
    assert_same_geometry(path, tmp_path / "y.nii")


def test_assumptions_are_noticed(tmp_path):
    data = noise()
    notices = read_image(save(tmp_path / "a.nii", data, sform=0, qform=0, unit="unknown")).meta["notices"]
    assert [("millimetres assumed" in n, "no orientation" in n) for n in notices] == [(True, False), (False, True)]
    (notice,) = read_image(save(tmp_path / "b.nii", data, np.diag([1e3, 1e3, 1e3, 1]), unit="micron")).meta["notices"]
    assert "micrometres" in notice
    assert np.allclose(read_image(tmp_path / "b.nii").spacing, 1)
    assert read_image(save(tmp_path / "c.nii", data)).meta["notices"] == ()


def test_a_misnamed_compression_does_not_matter(tmp_path):
    plain = save(tmp_path / "a.nii", noise())
    (tmp_path / "b.nii.gz").write_bytes(plain.read_bytes())
    (tmp_path / "c.nii").write_bytes(gzip.compress(plain.read_bytes()))
    for name in ("b.nii.gz", "c.nii"):
        assert np.array_equal(read_image(tmp_path / name).data, read_image(plain).data)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_the_same_labels_give_the_same_bytes(tmp_path, image, labels, suffix):
    for name in ("a", "b"):
        write_labels(tmp_path / (name + suffix), labels, image, {3: "x", 1: "y"})
    first = (tmp_path / ("a" + suffix)).read_bytes()
    assert first == (tmp_path / ("b" + suffix)).read_bytes()
    if suffix == ".nii.gz":
        assert first[3:8] == bytes(5)  # no file name flag, no time


def test_names_survive_any_text(tmp_path, image, labels):
    names = {1: 'ösophagus "x"', 3: "b" * 5000}
    write_labels(tmp_path / "x.nii.gz", labels, image, names)
    assert read_labels(tmp_path / "x.nii.gz").meta["label_names"] == names
    assert np.array_equal(nib.load(tmp_path / "x.nii.gz").get_fdata(), labels.data)


def test_foreign_extensions_are_read_over(tmp_path):
    image = nib.Nifti1Image(noise(), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"not json"))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b'["a list"]'))
    nib.save(image, tmp_path / "x.nii")
    volume = read_image(tmp_path / "x.nii")
    assert volume.meta["label_names"] == {}
    write_image(tmp_path / "y.nii", volume)
    assert nib.load(tmp_path / "y.nii").header.extensions == []


BAD = {
    "text": (lambda p: p.write_text("hello, this is no image"), "not a NIfTI file"),
    "one byte": (lambda p: p.write_bytes(b"x"), "not a NIfTI file"),
    "half a header": (lambda p: p.write_bytes(save(p, noise()).read_bytes()[:200]), "NIfTI header, got"),
    "truncated": (lambda p: p.write_bytes(save(p, noise()).read_bytes()[:-9]), "truncated"),
    "pair": (lambda p: patched(save(p, noise()), "magic", b"ni1"), "pair"),
    "magic": (lambda p: patched(save(p, noise()), "magic", b"abc"), "header"),
    "huge": (lambda p: patched(save(p, noise()), "dim", [3, 30000, 30000, 30000, 1, 1, 1, 1]), "30000 x 30000"),
    "negative": (lambda p: patched(save(p, noise()), "dim", [3, 5, -6, 7, 1, 1, 1, 1]), "at least one"),
    "no dims": (lambda p: patched(save(p, noise()), "dim", 0), "at least one|2D"),
    "offset": (lambda p: patched(save(p, noise()), "vox_offset", 1e20), "truncated"),
    "nan offset": (lambda p: patched(save(p, noise()), "vox_offset", np.nan), "vox_offset"),
    "type": (lambda p: patched(save(p, noise()), "datatype", 999), "header|voxel type"),
    "inter": (lambda p: patched(save(p, noise()), "scl_inter", np.nan), "scl_inter"),
    "complex": (lambda p: save(p, noise().astype(np.complex64)), "complex"),
    "rgb": (lambda p: save(p, np.zeros((4, 5, 6), [(c, "u1") for c in "RGB"])), "RGB"),
    "2D": (lambda p: save(p, noise((5, 6))), "2D"),
    "slice": (lambda p: save(p, noise((5, 6, 1))), "2D"),
    "4D": (lambda p: save(p, noise((5, 6, 7, 2))), "2 volumes"),
    "vector": (lambda p: save(p, noise((5, 6, 7, 1, 3))), "3 volumes"),
}


@pytest.mark.parametrize("case", BAD)
def test_unusable_files_give_one_line(tmp_path, case):
    make, word = BAD[case]
    path = tmp_path / "bad.nii"
    make(path)
    for read in (read_image, read_labels):
        with pytest.raises(InputError, match=word) as caught:
            read(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)


def zeros(header):
    for row in ("srow_x", "srow_y", "srow_z"):
        header[row] = 0


@pytest.mark.parametrize("fields", [{"srow_x": 0, "srow_y": 0, "srow_z": 0}, {"srow_x": np.nan}, {"srow_z": 0}])
def test_an_affine_that_cannot_be_inverted_is_refused(tmp_path, fields):
    path = save(tmp_path / "x.nii", noise())
    for field, value in fields.items():
        patched(path, field, value)
    with pytest.raises(GeometryError, match="affine") as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_unusable_qform_is_refused_only_when_it_counts(tmp_path):
    path = patched(save(tmp_path / "x.nii", noise(), sform=0), "quatern_b", 7)
    with pytest.raises(GeometryError, match="qform"):
        read_image(path)
    path = patched(save(tmp_path / "x.nii", noise()), "quatern_b", 7)
    assert "qform is not usable" in read_image(path).meta["notices"][0]


@pytest.mark.parametrize("cut", [0.3, 0.9, -9, -3])
def test_a_truncated_gzip_is_refused(tmp_path, cut):
    path = save(tmp_path / "x.nii.gz", noise((20, 20, 20)))
    block = path.read_bytes()
    path.write_bytes(block[: int(len(block) * cut)] if cut > 0 else block[:cut])
    with pytest.raises(InputError, match="truncated"):
        read_image(path)


def test_a_damaged_gzip_is_refused(tmp_path):
    path = save(tmp_path / "x.nii.gz", noise((20, 20, 20)))
    block = bytearray(path.read_bytes())
    block[-6] ^= 0xFF  # the checksum
    path.write_bytes(block)
    with pytest.raises(InputError, match="damaged"):
        read_image(path)


def test_a_small_gzip_cannot_claim_a_huge_image(tmp_path):
    plain = patched(save(tmp_path / "x.nii", noise()), "dim", [3, 30000, 30000, 30000, 1, 1, 1, 1])
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(plain.read_bytes()))
    with pytest.raises(InputError, match="truncated"):
        read_image(tmp_path / "x.nii.gz")


def test_nibabel_s_repairs_are_not_printed(tmp_path, capfd):
    path = patched(save(tmp_path / "x.nii", noise()), "pixdim", [0, 1, 1, 1, 1, 1, 1, 1])
    read_image(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.real
def test_real_scans_agree_with_nibabel_and_go_back_bit_for_bit(real_data, tmp_path):
    for dataset in ("abdomen-mr", "heart-mr", "hippocampus", "brain-mr", "abdomen-ct"):
        path = sorted((real_data / dataset / "images").glob("*.nii.gz"))[0]
        volume, image = read_image(path), nib.load(path)
        assert np.array_equal(volume.affine, image.affine)
        assert np.array_equal(volume.data, np.asarray(image.dataobj, dtype=np.float32))
        labels = read_labels(real_data / dataset / "labels" / path.name)
        write_labels(tmp_path / "seg.nii.gz", labels, volume)
        assert_same_geometry(path, tmp_path / "seg.nii.gz")
        assert np.array_equal(nib.load(tmp_path / "seg.nii.gz").dataobj, labels.data)
