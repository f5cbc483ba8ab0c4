"""Input channels of the refinement network."""

import numpy as np
import pytest

from atlassegfm.builtin.encoding import CHANNELS, CLIP_VOXELS, encode, signed_distance, standardised


@pytest.fixture
def cube() -> np.ndarray:
    mask = np.zeros((30, 28, 26), bool)
    mask[10:20, 9:19, 8:18] = True
    return mask


def test_signed_distance_counts_from_the_border_between_voxels(cube):
    distance = signed_distance(cube) * CLIP_VOXELS
    assert distance[10, 14, 12] == pytest.approx(0.5)
    assert distance[9, 14, 12] == pytest.approx(-0.5)
    assert distance[14, 14, 12] == pytest.approx(4.5)
    assert distance[0, 0, 0] == pytest.approx(-CLIP_VOXELS)
    np.testing.assert_array_equal(distance > 0, cube)


@pytest.mark.parametrize(("value", "expected"), [(False, -1.0), (True, 1.0)])
def test_signed_distance_of_nothing_and_of_everything(value, expected):
    assert (signed_distance(np.full((6, 7, 8), value)) == expected).all()


def test_encoding_does_not_depend_on_the_unit_of_intensity(cube):
    image = np.random.default_rng(0).normal(size=cube.shape).astype(np.float32) + cube
    rivals = np.roll(cube, 12, axis=0) & ~cube
    first = encode(image, cube, rivals)
    again = encode(image * 250.0 - 1000.0, cube, rivals)
    np.testing.assert_allclose(first, again, atol=1e-3)
    assert first.shape == (len(CHANNELS), *cube.shape)
    assert first.dtype == np.float32
    assert not first[4:].any()


def test_contrast_is_zero_inside_the_prior_and_keeps_weak_borders(cube):
    image = np.where(cube, 1.02, 1.0).astype(np.float32)
    image[:4] = -50.0
    inputs = encode(image, cube, np.zeros_like(cube))
    assert inputs[1][cube] == pytest.approx(0.0, abs=1e-5)
    assert np.abs(inputs[1][5:9]).min() > 0.5
    assert np.abs(np.diff(inputs[0][[9, 12], 14, 12])) < 0.01


def test_click_and_box_are_where_they_should_be(cube):
    empty = np.zeros_like(cube)
    inputs = encode(standardised(cube.astype(np.float32)), empty, empty, (14, 13, 12), ((10, 20), (9, 19), (-3, 18)))
    assert np.unravel_index(inputs[4].argmax(), cube.shape) == (14, 13, 12)
    assert inputs[4].max() == pytest.approx(1.0)
    assert inputs[5].sum() == 10 * 10 * 18
    assert (inputs[2:4] == -1).all()


def test_a_flat_image_stays_finite(cube):
    assert np.isfinite(encode(np.full(cube.shape, 7.0, np.float32), cube, ~cube)).all()
