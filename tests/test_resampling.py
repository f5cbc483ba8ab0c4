"""Resampling: exact on identity, right at borders, label-safe, linear where the image is linear."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from atlassegfm import resampling
from atlassegfm.errors import InputError
from atlassegfm.resampling import (
    LABEL_METHODS,
    label_membership,
    label_membership_crop,
    reach,
    resample_image,
    resample_labels,
    warp_labels,
)
from atlassegfm.volume import Grid, Volume


def world(grid: Grid) -> np.ndarray:
    return grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))


def straight(shape, spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)) -> Grid:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return Grid(shape, affine)


def turned(shape, spacing, angles, centre) -> Grid:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * np.array(spacing)
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return Grid(shape, affine)


def test_identity_is_bit_exact(image: Volume):
    out = resample_image(image, image.grid)
    assert out.data.dtype == np.float32
    np.testing.assert_array_equal(out.data, image.data)
    np.testing.assert_array_equal(resample_image(image, image.grid, lambda p: p).data, image.data)
    np.testing.assert_array_equal(resample_image(image, image.grid, antialias=True).data, image.data)


def test_identity_on_labels_is_bit_exact(labels: Volume):
    for method in ("linear", "nearest"):
        out = resample_labels(labels, labels.grid, method=method)
        np.testing.assert_array_equal(out.data, labels.data)
        assert out.data.dtype == labels.data.dtype


def test_other_axis_orders_are_exact(image: Volume, axis_orders):
    for order in axis_orders:
        shape = tuple((np.abs(order).T @ np.array(image.grid.shape)).astype(int).tolist())
        affine = np.eye(4)
        affine[:3, :3] = image.affine[:3, :3] @ order
        affine[:3, 3] = image.grid.centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        there = resample_image(image, Grid(shape, affine))
        axes = np.abs(order).argmax(axis=0)
        wanted = np.transpose(image.data, axes)
        wanted = np.flip(wanted, [n for n in range(3) if order[axes[n], n] < 0])
        np.testing.assert_array_equal(there.data, wanted)


def test_linear_ramp_is_reproduced(image: Volume):
    slope, offset = np.array([1.5, -2.0, 0.75]), 40.0
    ramp = image.with_data((world(image.grid) @ slope + offset).astype(np.float32))
    target = turned((9, 8, 10), (0.9, 1.1, 1.3), (20, -35, 10), image.grid.centre)
    inside = (image.grid.to_voxel(world(target)) > 0).all(-1)
    inside &= (image.grid.to_voxel(world(target)) < np.array(image.grid.shape) - 1).all(-1)
    assert inside.sum() > 300
    np.testing.assert_allclose(
        resample_image(ramp, target).data[inside], (world(target) @ slope + offset)[inside], atol=2e-4
    )


def test_transform_maps_target_points_to_source_points():
    data = np.zeros((7, 7, 7), np.float32)
    data[5, 2, 3] = 1.0
    source = Volume(data, straight((7, 7, 7), (2, 3, 4)))
    out = resample_image(source, source.grid, lambda p: p + np.array([4.0, -3.0, 4.0])).data
    assert out[3, 3, 2] == 1.0
    assert out.sum() == 1.0


def test_rim_takes_the_border_value_and_beyond_the_fill():
    source = Volume(np.arange(1, 6, dtype=np.float32).reshape(5, 1, 1), straight((5, 1, 1)))
    target = straight((13, 1, 1), (0.5, 1, 1), (-1.0, 0, 0))
    out = resample_image(source, target, fill=-7.0).data.ravel()
    np.testing.assert_allclose(out, [-7, 1, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5, -7])
    np.testing.assert_array_equal(resample_image(source, straight((3, 1, 1), origin=(90, 0, 0))).data, 0)


def test_nan_fill_marks_what_is_unknown():
    source = Volume(np.ones((4, 4, 4), np.float32), straight((4, 4, 4)))
    out = resample_image(source, straight((6, 4, 4), origin=(-1, 0, 0)), fill=np.nan).data
    assert np.isnan(out[[0, 5]]).all()
    assert (out[1:5] == 1).all()


def test_slabs_do_not_show(image: Volume, labels: Volume, monkeypatch):
    target = turned((13, 9, 8), (1.2, 1.4, 2.0), (5, 10, 15), image.grid.centre)
    whole = resample_image(image, target).data, resample_labels(labels, target).data
    monkeypatch.setattr(resampling, "CHUNK_VOXELS", 1)
    np.testing.assert_array_equal(resample_image(image, target).data, whole[0])
    np.testing.assert_array_equal(resample_labels(labels, target).data, whole[1])


def test_antialias_averages_where_voxels_grow():
    grid = straight((32, 32, 32))
    noise = Volume(np.random.default_rng(0).normal(size=grid.shape).astype(np.float32), grid)
    coarse = grid.with_spacing((4, 4, 1))
    plain, smooth = resample_image(noise, coarse), resample_image(noise, coarse, antialias=True)
    assert smooth.data.std() < 0.35 * plain.data.std()
    flat = noise.with_data(np.full(grid.shape, 3.0, np.float32))
    np.testing.assert_allclose(resample_image(flat, coarse, antialias=True).data, 3.0, rtol=1e-5)


def test_antialias_leaves_the_axes_that_do_not_grow():
    grid = straight((16, 16, 16))
    stripes = np.zeros(grid.shape, np.float32)
    stripes[:, :, ::2] = 1.0  # varies along k only
    out = resample_image(Volume(stripes, grid), grid.with_spacing((4, 4, 1)), antialias=True).data
    np.testing.assert_allclose(out, np.broadcast_to(stripes[0, 0], out.shape), atol=1e-6)
    fine = grid.with_spacing(0.5)
    plain, smooth = (resample_image(Volume(stripes, grid), fine, antialias=a).data for a in (False, True))
    np.testing.assert_array_equal(plain, smooth)


@pytest.mark.parametrize("method", LABEL_METHODS)
def test_no_new_labels(labels: Volume, method):
    # Values 1 and 3 next to each other: an interpolated value would be a 2.
    data = labels.data.copy()
    data[6:9, 3:8, 1:4] = 3
    touching = labels.with_data(data)
    target = turned((15, 14, 9), (1.1, 0.9, 2.2), (25, -10, 40), labels.grid.centre)
    out = resample_labels(touching, target, method=method)
    assert set(np.unique(out.data)) == {0, 1, 3}
    assert out.data.dtype == data.dtype


def test_label_volume_is_kept():
    grid = straight((24, 20, 14), (1.5, 1.5, 3.0))
    ball = (np.linalg.norm(world(grid) - grid.centre, axis=-1) < 13).astype(np.uint8)
    target = turned((50, 46, 48), (0.8, 0.7, 0.9), (30, 20, 10), grid.centre)
    for method in LABEL_METHODS:
        out = resample_labels(Volume(ball, grid), target, method=method)
        after = out.data.sum() * target.voxel_volume_ml
        assert after == pytest.approx(ball.sum() * grid.voxel_volume_ml, rel=0.05)


def test_half_membership_belongs_to_the_background():
    # A voxel midway between label and background: 0.5 each.
    data = np.zeros((6, 3, 3), np.uint8)
    data[3:] = 4
    source = Volume(data, straight((6, 3, 3)))
    out = resample_labels(source, straight((6, 3, 3), origin=(0.5, 0, 0)))
    np.testing.assert_array_equal(out.data[:, 0, 0], [0, 0, 0, 4, 4, 4])


def test_three_labels_meet_without_a_hole():
    # Each has less than half of the middle voxel, but together they have all of it.
    data = np.ones((4, 4, 4), np.uint8)
    data[2:] = 2
    data[:, 2:] = 3
    out = resample_labels(Volume(data, straight((4, 4, 4))), straight((7, 7, 7), (0.5, 0.5, 0.5)))
    assert (out.data > 0).all()


def test_labels_at_the_border_reach_the_rim_and_no_farther():
    data = np.full((3, 3, 3), 5, np.int16)
    out = resample_labels(Volume(data, straight((3, 3, 3))), straight((15, 3, 3), (0.5, 1, 1), (-2, 0, 0)))
    np.testing.assert_array_equal(out.data[:, 1, 1] > 0, [x in range(3, 10) for x in range(15)])


def test_membership_is_linear_in_the_mask(labels: Volume):
    target = turned((14, 13, 9), (1.1, 1.0, 2.0), (15, 5, 25), labels.grid.centre)
    for value in (1, 3):
        mask = labels.with_data((labels.data == value).astype(np.float32))
        np.testing.assert_allclose(
            label_membership(labels, value, target), resample_image(mask, target).data, atol=1e-6
        )
    gaussian = label_membership(labels, 1, target, method="gaussian")
    assert 0 <= gaussian.min() <= gaussian.max() <= 1 + 1e-6


def test_absent_and_unreachable_labels(labels: Volume):
    assert label_membership_crop(labels, 99, labels.grid) is None
    assert label_membership_crop(labels, 1, labels.grid, lambda p: p + 5000.0) is None
    assert label_membership(labels, 99, labels.grid).sum() == 0
    assert resample_labels(labels, labels.grid, lambda p: p + 5000.0).data.sum() == 0
    empty = labels.with_data(np.zeros_like(labels.data))
    assert resample_labels(empty, labels.grid).data.sum() == 0


def test_unknown_method_is_an_error(labels: Volume):
    with pytest.raises(InputError, match="cubic"):
        resample_labels(labels, labels.grid, method="cubic")


numbers = st.floats(-1, 1, allow_nan=False)


@st.composite
def situations(draw):
    """A target grid, a source grid, a map that stretches less than twofold, and a box of the source."""
    shapes = [tuple(draw(st.integers(1, 24)) for _ in range(3)) for _ in range(2)]
    spacings = [tuple(draw(st.floats(0.5, 5)) for _ in range(3)) for _ in range(2)]
    angles = [tuple(draw(st.floats(-180, 180)) for _ in range(3)) for _ in range(3)]
    target = turned(shapes[0], spacings[0], angles[0], (0, 0, 0))
    source = turned(shapes[1], spacings[1], angles[1], tuple(10 * draw(numbers) for _ in range(3)))
    scale = np.array([draw(st.floats(0.6, 1.7)) for _ in range(3)])
    matrix = Rotation.from_euler("xyz", angles[2], degrees=True).as_matrix() * scale
    amplitude, length = draw(st.floats(0, 3)), draw(st.floats(60, 200))

    def transform(points):
        return points @ matrix.T + amplitude * np.sin(points[..., [1, 2, 0]] * 2 * np.pi / length)

    box = []
    for n in source.shape:
        start = draw(st.integers(0, n - 1))
        box.append(slice(start, draw(st.integers(start + 1, n))))
    return target, source, transform, tuple(box)


@given(situations())
def test_reach_never_misses_a_voxel(situation):
    target, source, transform, box = situation
    coords = source.to_voxel(transform(world(target)))
    # Linear interpolation looks one voxel farther than the box on each side.
    samples = np.ones(target.shape, bool)
    for axis, part in enumerate(box):
        samples &= (coords[..., axis] > part.start - 1) & (coords[..., axis] < part.stop)
    found = reach(target, source, transform, box)
    if found is not None:
        samples[found] = False
    assert not samples.any()


@given(situations(), st.sampled_from(LABEL_METHODS))
def test_crop_of_a_label_equals_the_whole(situation, method):
    target, source, transform, box = situation
    data = np.zeros(source.shape, np.uint8)
    data[box] = 7
    labels = Volume(data, source)
    found = label_membership(labels, 7, target, transform, method=method)
    if method == "gaussian":
        assert 0 <= found.min() <= found.max() <= 1 + 1e-5
        return
    if method == "linear":
        wanted = resample_image(labels, target, transform).data / 7
    else:
        nearest = np.round(source.to_voxel(transform(world(target)))).astype(int)
        ok = ((nearest >= 0) & (nearest < np.array(source.shape))).all(-1)
        wanted = np.zeros(target.shape, np.float32)
        wanted[ok] = data[tuple(nearest[ok].T)] / 7
    assert np.mean(np.abs(found - wanted) > 1e-3) < (1e-9 if method == "linear" else 0.02)  # ties round either way


def test_a_label_carried_through_a_registration_keeps_its_place_and_size():
    grid = Grid((40, 40, 40), np.eye(4))
    ball = (np.linalg.norm(np.indices(grid.shape) - 19.5, axis=0) < 9).astype(np.uint8) * 3
    found = warp_labels(Volume(ball, grid), grid, lambda points: points + 0.5)
    assert set(np.unique(found.data)) == {0, 3}
    assert np.allclose(np.argwhere(found.data).mean(axis=0), 19.0, atol=0.05)
    # Interpolating half-way between voxels still blurs a little.
    assert found.data.astype(bool).sum() == pytest.approx(ball.astype(bool).sum(), rel=0.04)


def test_carrying_smooths_the_staircase_of_the_voxels():
    # A face with spikes one voxel high.
    labels = np.zeros((20, 21, 21), dtype=np.uint8)
    labels[:10] = 1
    labels[10, ::4, ::4] = 1
    found = warp_labels(Volume(labels, Grid(labels.shape, np.eye(4))), Grid(labels.shape, np.eye(4)), lambda p: p)
    assert (found.data[:10, 1:-1, 1:-1] == 1).all()
    assert not found.data[10:, 2:-2, 2:-2].any()


@pytest.mark.parametrize("thin", [np.s_[10, 10, 2:18], np.s_[10, 2:18, 2:18]])
def test_a_vessel_or_a_sheet_one_voxel_thick_is_not_smoothed_away(thin):
    labels = np.zeros((20, 20, 20), dtype=np.uint8)
    labels[thin] = 1
    found = warp_labels(Volume(labels, Grid(labels.shape, np.eye(4))), Grid(labels.shape, np.eye(4)), lambda p: p)
    assert np.count_nonzero(found.data & labels) >= 0.8 * np.count_nonzero(labels)
