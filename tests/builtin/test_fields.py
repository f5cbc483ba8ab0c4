"""Smooth random fields and slice profiles."""

import numpy as np
import pytest

from atlassegfm.builtin.fields import (
    along_axes,
    between_slices_matrix,
    blur_matrix,
    slices_matrix,
    smooth_field,
    spline_matrix,
)


def test_along_axes_keeps_the_order_of_the_axes():
    array = np.random.default_rng(0).normal(size=(3, 4, 5))
    matrices = tuple(np.random.default_rng(n).normal(size=(n + 2, n)) for n in array.shape)
    expected = np.einsum("abc,ia,jb,kc->ijk", array, *matrices)
    np.testing.assert_allclose(along_axes(array, matrices), expected)


@pytest.mark.parametrize("cells", [1, 3, 9])
def test_splines_sum_to_one(cells):
    np.testing.assert_allclose(spline_matrix(40, cells).sum(axis=1), 1.0, rtol=1e-5)


def test_smooth_field_has_unit_deviation_and_is_smooth():
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_field(rng, (24, 20, 16), 4) for _ in range(60)])
    assert fields.shape == (60, 24, 20, 16)
    assert fields.std() == pytest.approx(1.0, abs=0.06)
    assert np.abs(np.diff(fields, axis=1)).std() < 0.4


@pytest.mark.parametrize("matrix", [blur_matrix(30, 1.3), blur_matrix(30, 0.0), slices_matrix(30, 3.4, 1.2)])
def test_blurs_keep_flat_images_flat(matrix):
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=1e-5)


def test_slices_and_back_keep_a_ramp_inside():
    there_and_back = between_slices_matrix(40, 3.0, 1.0) @ slices_matrix(40, 3.0, 1.0)
    ramp = there_and_back @ np.arange(40.0)
    np.testing.assert_allclose(ramp[6:32], np.arange(6.0, 32.0), atol=0.1)
