"""Points through a matrix."""

import numpy as np

from atlassegfm.points import linear_map

MATRIX = np.array([[2.0, 0.5, -1.0], [0.0, 3.0, 0.25], [1.0, 0.0, -4.0]])


def test_it_is_the_matrix_product():
    points = np.random.default_rng(0).normal(0.0, 100.0, (3, 4, 5, 3))
    shift = np.array([1.0, -2.0, 3.0])
    np.testing.assert_allclose(linear_map(MATRIX, points, shift), points @ MATRIX.T + shift, rtol=1e-13, atol=1e-11)
    np.testing.assert_allclose(linear_map(MATRIX, points), points @ MATRIX.T, rtol=1e-13, atol=1e-11)


def test_single_points_integers_and_single_precision_are_taken():
    np.testing.assert_array_equal(linear_map(MATRIX, [1, 2, 4]), [-1.0, 7.0, -15.0])
    np.testing.assert_array_equal(linear_map(MATRIX, np.array([[1, 2, 4]])), [[-1.0, 7.0, -15.0]])
    found = linear_map(MATRIX, np.float32([1, 2, 4]))
    assert found.dtype == np.float64


def test_a_point_gives_the_same_bits_alone_and_among_others():
    """What lies exactly on a border must not depend on how many points are asked for."""
    points = np.random.default_rng(1).normal(0.0, 100.0, (250_007, 3))
    shift = np.array([0.1, 0.2, 0.3])
    together = linear_map(MATRIX, points, shift)
    alone = np.array([linear_map(MATRIX, point, shift) for point in points[::97]])
    np.testing.assert_array_equal(together[::97], alone)


def test_arrays_of_any_memory_order_are_taken():
    points = np.moveaxis(np.random.default_rng(2).normal(0.0, 100.0, (3, 40, 30, 20)), 0, -1)
    np.testing.assert_array_equal(linear_map(MATRIX, points)[7, 5], linear_map(MATRIX, points[7, 5]))
    turned = MATRIX.T
    np.testing.assert_array_equal(linear_map(turned, points)[7, 5], linear_map(turned, points[7, 5]))
    assert linear_map(MATRIX, points[:0]).shape == (0, 30, 20, 3)
