"""Transform files against SimpleITK on oblique anisotropic grids, there and back."""

from __future__ import annotations

import os
import time

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from atlassegfm.errors import InputError
from atlassegfm.registration import files
from atlassegfm.registration.files import read_transform, write_transform
from atlassegfm.registration.hdf5 import erase_times, lookup3
from atlassegfm.registration.itk import from_itk, reaching, to_itk, volume_to_itk
from atlassegfm.registration.transform import Affine, Displacement, Transform
from atlassegfm.resampling import resample_image
from atlassegfm.volume import Grid

from .phantoms import apply, grid_of, rigid, scan, waves, world

FIXED = grid_of(
    (4, 3, 5), (80, 72, 90), turn_deg=(10, -15, 30), flips=(-1, 1, 1), centre=(30, -40, 25), order=(2, 0, 1)
)
MOVING = grid_of((3.5, 5, 4), (96, 90, 84), turn_deg=(-8, 12, 5), flips=(1, -1, -1), centre=(-35, 20, 70))
FIELD = grid_of((6, 5, 5.5), (80, 72, 90), turn_deg=(10, -15, 30), centre=(30, -40, 25))


def affine() -> Affine:
    """Moves the fixed grid's centre near the moving one's; rotation, scale, shear."""
    matrix = rigid("z", 14) @ rigid("x", -9)
    matrix[:3, :3] = matrix[:3, :3] @ np.array([[1.05, 0.04, 0], [0, 0.93, 0.02], [0, 0, 1.1]])
    matrix[:3, 3] = MOVING.centre - matrix[:3, :3] @ FIXED.centre + [2, -3, 1]
    return Affine(matrix)


def warp(grid: Grid = FIELD) -> Displacement:
    # Three different components and no symmetry, so that a mixed-up axis or sign shows.
    return Displacement(grid, (waves(4.0, 65.0)(world(grid)) * [1.0, 0.6, -0.8] + [1.0, 0.5, -1.5]).astype(np.float32))


FORWARD = Transform((warp(), affine()))


def lps(points: np.ndarray) -> np.ndarray:
    return points * [-1.0, -1.0, 1.0]


def mapped_by_itk(transform: sitk.Transform, points: np.ndarray) -> np.ndarray:
    return lps(np.array([transform.TransformPoint(p) for p in lps(points).tolist()]))


def some_points(grid: Grid, count: int = 300, seed: int = 0) -> np.ndarray:
    last = np.array(grid.shape) - 1
    return grid.to_world(np.random.default_rng(seed).uniform(0, last, (count, 3)))


def body_between() -> callable:
    """World of the moving grid to body mm."""
    return lambda p: p - MOVING.centre


def test_points_through_the_composite_agree(tmp_path):
    path = write_transform(FORWARD, tmp_path, "case", domain=FIXED)[0]
    points = some_points(FIXED)
    assert np.abs(mapped_by_itk(sitk.ReadTransform(str(path)), points) - FORWARD(points)).max() < 1e-3
    # The order matters on this data: the other one lands elsewhere.
    swapped = Transform(FORWARD.stages[::-1])
    assert np.abs(swapped(points) - FORWARD(points)).max() > 1.0


def test_image_through_the_composite_agrees(tmp_path):
    path = write_transform(FORWARD, tmp_path, "case", domain=FIXED)[0]
    moving = scan(MOVING, body_between())
    fixed = volume_to_itk(scan(FIXED))
    itk = sitk.Resample(volume_to_itk(moving), fixed, sitk.ReadTransform(str(path)), sitk.sitkLinear, 0.0)
    itk = sitk.GetArrayFromImage(itk).transpose(2, 1, 0)
    ours = resample_image(moving, FIXED, FORWARD).data
    both = (itk != 0) & (ours != 0)
    assert both.mean() > 0.5
    assert ((itk != 0) != (ours != 0)).mean() < 1e-3  # points on the very edge of the field of view
    assert np.abs(itk - ours)[both].max() < 0.02  # of 250


def test_inverse_through_files_agrees_and_undoes(tmp_path):
    inverse = FORWARD.inverse()
    path = write_transform(inverse, tmp_path, "inverse", domain=MOVING)[0]
    back = sitk.ReadTransform(str(path))
    points = some_points(MOVING, seed=1)
    assert np.abs(mapped_by_itk(back, points) - inverse(points)).max() < 1e-3
    start = some_points(FIELD, seed=2)
    there = FORWARD(start)
    errors = np.linalg.norm(mapped_by_itk(back, there) - start, axis=1)
    assert np.median(errors) < 0.15  # of displacements of 4 mm, on a grid of 5 mm


def test_single_files_chained_by_hand_agree(tmp_path):
    paths = write_transform(FORWARD, tmp_path, "case", domain=FIXED)
    assert [p.name for p in paths] == ["case.h5", "case_1_warp.nii.gz", "case_2_affine.mat"]
    field = sitk.DisplacementFieldTransform(sitk.ReadImage(str(paths[1]), sitk.sitkVectorFloat64))
    matrix = sitk.ReadTransform(str(paths[2]))
    points = some_points(FIXED)
    by_hand = mapped_by_itk(matrix, mapped_by_itk(field, points))
    assert np.abs(by_hand - FORWARD(points)).max() < 1e-3


def test_the_warp_is_a_nifti_vector_image_with_lps_vectors(tmp_path):
    image = nib.load(write_transform(FORWARD, tmp_path, "case")[1])
    assert image.header["intent_code"] == 1007
    assert image.shape == (*FIELD.shape, 1, 3)
    assert image.get_data_dtype() == np.float32
    np.testing.assert_allclose(image.affine, FIELD.affine, atol=1e-4)
    np.testing.assert_allclose(lps(np.asarray(image.dataobj)[..., 0, :]), FORWARD.stages[0].vectors, atol=1e-5)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_every_file_reads_back(tmp_path, number):
    path = write_transform(FORWARD, tmp_path, "case")[number]
    wanted = [FORWARD, Transform(FORWARD.stages[:1]), Transform(FORWARD.stages[1:])][number]
    got = read_transform(path)
    assert [type(s) for s in got.stages] == [type(s) for s in wanted.stages]
    for a, b in zip(got.stages, wanted.stages, strict=True):
        if isinstance(a, Affine):
            np.testing.assert_allclose(a.matrix, b.matrix, atol=1e-9)
        else:
            assert a.grid.matches(b.grid)
            np.testing.assert_allclose(a.vectors, b.vectors, atol=1e-6)
    points = some_points(FIXED)
    assert np.abs(got(points) - wanted(points)).max() < 1e-3


def test_several_fields_and_affines_keep_their_order(tmp_path):
    other = Displacement(MOVING, waves(2.0, 50.0)(world(MOVING)).astype(np.float32))
    chain = Transform((Affine(rigid("z", 3)), Affine(rigid("x", 2)), warp(), affine(), other))
    paths = write_transform(chain, tmp_path, "long")
    assert [p.name for p in paths[1:]] == [
        "long_1_affine.mat",
        "long_2_warp.nii.gz",
        "long_3_affine.mat",
        "long_4_warp.nii.gz",
    ]
    points = some_points(FIELD, 100) * 0.5 + FIELD.centre * 0.5
    np.testing.assert_allclose(read_transform(paths[0])(points), chain(points), atol=1e-3)
    by_parts = points
    for path in paths[1:]:
        by_parts = read_transform(path)(by_parts)
    np.testing.assert_allclose(by_parts, chain(points), atol=1e-3)


def test_identity_and_affine_alone(tmp_path):
    points = some_points(FIXED)
    for name, transform in (("none", Transform()), ("affine", Transform((affine(),)))):
        paths = write_transform(transform, tmp_path, name, domain=FIXED)
        assert [p.name for p in paths] == [f"{name}.h5", f"{name}_1_affine.mat"]
        for path in paths:
            np.testing.assert_allclose(read_transform(path)(points), transform(points), atol=1e-6)


def test_domain_makes_itk_agree_beyond_the_field():
    small = Transform((warp(grid_of((5, 5, 5), (40, 40, 40), centre=(30, -40, 25))), affine()))
    points = some_points(FIXED)
    without = np.abs(mapped_by_itk(to_itk(small), points) - small(points)).max()
    grown = reaching(small, FIXED)
    assert without > 0.5
    assert np.abs(mapped_by_itk(to_itk(grown), points) - small(points)).max() < 1e-3
    np.testing.assert_allclose(grown(points), small(points), atol=1e-4)
    assert reaching(FORWARD, FIXED.cropped((slice(8, 12),) * 3)).stages == FORWARD.stages


def test_a_sheared_field_is_carried_over():
    affine_ = FIELD.affine.copy()
    affine_[:3, 1] += 0.3 * affine_[:3, 0]
    sheared = Grid(FIELD.shape, affine_)
    transform = Transform((warp(sheared),))
    points = sheared.to_world(np.random.default_rng(0).uniform(2, np.array(sheared.shape) - 3, (200, 3)))
    error = np.abs(mapped_by_itk(to_itk(transform), points) - transform(points))
    assert error.max() < 0.25  # interpolated twice
    assert error.mean() < 0.05


@pytest.mark.parametrize(
    "itk",
    [
        sitk.TranslationTransform(3, (3.0, -2.0, 5.0)),
        sitk.Euler3DTransform((4.0, 5.0, 6.0), 0.1, -0.2, 0.3, (1.0, 2.0, 3.0)),
        sitk.Similarity3DTransform(1.1, (0.0, 0.0, 1.0), 0.4, (1.0, -2.0, 3.0), (5.0, 5.0, 5.0)),
        sitk.ScaleTransform(3, (0.9, 1.1, 1.2)),
        sitk.Transform(3, sitk.sitkIdentity),
    ],
    ids=lambda t: t.GetName(),
)
@pytest.mark.parametrize("suffix", [".tfm", ".txt", ".h5"])
def test_linear_transforms_of_others_are_read(tmp_path, itk, suffix):
    path = tmp_path / f"other{suffix}"
    sitk.WriteTransform(itk, str(path))
    points = some_points(FIXED, 20)
    np.testing.assert_allclose(read_transform(path)(points), mapped_by_itk(itk, points), atol=1e-9)


def test_what_cannot_be_taken_over_is_an_error(tmp_path):
    spline = tmp_path / "spline.tfm"
    sitk.WriteTransform(sitk.BSplineTransform(3, 3), str(spline))
    with pytest.raises(InputError, match="affine or a displacement field"):
        read_transform(spline)
    flat = tmp_path / "flat.tfm"
    sitk.WriteTransform(sitk.AffineTransform((0.0,) * 9, (0.0, 0.0, 0.0)), str(flat))
    with pytest.raises(InputError, match=str(flat)):
        read_transform(flat)
    with pytest.raises(InputError, match="3D points"):
        from_itk(sitk.Euler2DTransform())
    image = tmp_path / "image.nii.gz"
    sitk.WriteImage(volume_to_itk(scan(FIXED)), str(image))
    with pytest.raises(InputError, match="3 components"):
        read_transform(image)


def test_bad_files_are_one_line(tmp_path, capfd):
    for name, content in (
        ("a.h5", b"nothing"),
        ("b.mat", b""),
        ("c.nii.gz", b"\x1f\x8b"),
        ("d.tfm", b"x"),
        ("e.png", b""),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError, match=name) as caught:
            read_transform(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="no such transform file"):
        read_transform(tmp_path / "missing.h5")
    assert capfd.readouterr().err == ""


def test_truncated_files_are_refused(tmp_path, capfd):
    paths = write_transform(FORWARD, tmp_path, "whole")
    paths += [tmp_path / "plain.nii", tmp_path / "text.tfm"]
    sitk.WriteImage(sitk.ReadImage(str(paths[1])), str(paths[-2]))
    sitk.WriteTransform(to_itk(Transform((affine(),))), str(paths[-1]))
    for path in paths:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])
        with pytest.raises(InputError, match=path.name) as caught:
            read_transform(path)
        assert "\n" not in str(caught.value)
        path.write_bytes(whole)
        read_transform(path)
    assert capfd.readouterr().err == ""


def test_nan_in_a_field_is_refused(tmp_path):
    field = warp()
    field.vectors[3, 3, 3, 1] = np.nan
    path = write_transform(Transform((field,)), tmp_path, "nan")[0]
    with pytest.raises(InputError, match=r"nan\.h5: expected finite"):
        read_transform(path)


def test_same_transform_same_bytes(tmp_path):
    first = [p.read_bytes() for p in write_transform(FORWARD, tmp_path, "case")]
    time.sleep(1.1)  # HDF5 stamps seconds
    second = [p.read_bytes() for p in write_transform(FORWARD, tmp_path, "case")]
    assert first == second


def test_nothing_is_left_when_writing_fails(tmp_path, monkeypatch):
    old = write_transform(FORWARD, tmp_path, "case")
    before = {p: p.read_bytes() for p in old}

    def fails(*_):
        raise RuntimeError("disk on fire\nsecond line")

    monkeypatch.setattr(files.sitk, "WriteTransform", fails)
    with pytest.raises(InputError, match="second line"):
        write_transform(Transform(), tmp_path, "case")
    assert sorted(tmp_path.iterdir()) == sorted(old)
    assert {p: p.read_bytes() for p in old} == before
    with pytest.raises(InputError, match="does not exist"):
        write_transform(Transform(), tmp_path / "nowhere", "case")
    with pytest.raises(InputError, match="prefix"):
        write_transform(Transform(), tmp_path, f"..{os.sep}case")


def test_checksum_is_jenkins_lookup3():
    # The test vector of lookup3.c itself.
    assert lookup3(b"Four score and seven years ago") == 0x17770551
    assert lookup3(b"") == 0xDEADBEEF


def test_times_are_erased_and_data_that_look_like_headers_are_not(tmp_path):
    field = warp()
    field.vectors.reshape(-1)[:3] = np.frombuffer(b"OHDR\x02\x20" * 2, dtype=np.float32)
    path = tmp_path / "raw.h5"
    sitk.WriteTransform(to_itk(Transform((field, affine()))), str(path))
    assert erase_times(path) > 5
    once = path.read_bytes()
    erase_times(path)
    assert path.read_bytes() == once
    np.testing.assert_array_equal(read_transform(path).stages[0].vectors, field.vectors)


def test_apply_matches_the_helper():
    points = some_points(FIXED, 5)
    np.testing.assert_allclose(Transform((affine(),))(points), apply(affine().matrix, points))
