"""Affine and displacement stages: exact on grids, inverses, composition."""

from __future__ import annotations

import numpy as np

from atlassegfm.registration.transform import Affine, Displacement, Transform, voxel_displacement
from atlassegfm.volume import Grid

from .phantoms import apply, grid_of, rigid, undo, waves, world

OBLIQUE = grid_of(
    (3, 2.5, 4), (60, 50, 56), turn_deg=(12, -20, 35), flips=(1, -1, 1), centre=(40, -30, 90), order=(1, 2, 0)
)


def field_of(grid: Grid, function) -> Displacement:
    return Displacement(grid, function(world(grid)).astype(np.float32))


def inner(grid: Grid, margin: int = 4) -> tuple[slice, ...]:
    return tuple(slice(margin, n - margin) for n in grid.shape)


def test_affine_and_its_inverse():
    matrix = rigid("y", 25, (10, -4, 7))
    matrix[:3, :3] *= [1.1, 0.9, 1.2]
    points = np.random.default_rng(0).normal(0, 50, (4, 5, 3))
    np.testing.assert_allclose(Affine(matrix)(points), apply(matrix, points), atol=1e-12)
    np.testing.assert_allclose(Affine(matrix).inverse()(Affine(matrix)(points)), points, atol=1e-10)


def test_displacement_is_exact_at_voxels_and_repeats_the_border():
    vectors = np.random.default_rng(1).normal(0, 3, (*OBLIQUE.shape, 3)).astype(np.float32)
    field = Displacement(OBLIQUE, vectors)
    np.testing.assert_allclose(field.at(world(OBLIQUE)), vectors, atol=1e-5)
    far = OBLIQUE.to_world(np.array([[-9, 2, 3], [2, OBLIQUE.shape[1] + 20, 3]]))
    np.testing.assert_allclose(field.at(far), [vectors[0, 2, 3], vectors[2, -1, 3]], atol=1e-5)


def test_linear_field_is_exact_between_voxels():
    slope = np.random.default_rng(2).normal(0, 0.1, (3, 3))
    field = field_of(OBLIQUE, lambda p: p @ slope.T + [1, 2, 3])
    points = OBLIQUE.to_world(np.random.default_rng(3).uniform(0, np.array(OBLIQUE.shape) - 1, (200, 3)))
    np.testing.assert_allclose(field(points), points + points @ slope.T + [1, 2, 3], atol=1e-4)


def test_displacement_inverse_undoes_a_smooth_field():
    field = field_of(OBLIQUE, waves(3.0, 60.0))
    inverse = field.inverse()
    assert inverse.vectors.dtype == np.float32
    points = world(OBLIQUE)[inner(OBLIQUE)].reshape(-1, 3)
    assert np.abs(inverse(field(points)) - points).max() < 0.2  # both fields are linear between voxels
    assert np.abs(field(inverse(points)) - points).max() < 0.02
    truth = undo(waves(3.0, 60.0), points)
    assert np.linalg.norm(inverse(points) - truth, axis=1).mean() < 0.05


def test_displacement_inverse_of_a_constant_is_its_negative():
    field = field_of(OBLIQUE, lambda p: np.broadcast_to([2.0, -7.0, 1.5], p.shape))
    np.testing.assert_allclose(field.inverse().vectors, -field.vectors, atol=1e-6)


def test_stages_act_in_order_and_inverse_reverses_them():
    first, second = Affine(rigid("z", 30, (50, 0, 0))), Affine(rigid("x", -20, (0, 9, 3)))
    chain = Transform((first, second))
    points = np.random.default_rng(4).normal(0, 40, (30, 3))
    np.testing.assert_allclose(chain(points), second(first(points)), atol=1e-12)
    np.testing.assert_allclose(chain.matrix, second.matrix @ first.matrix, atol=1e-12)
    np.testing.assert_allclose(chain.inverse()(chain(points)), points, atol=1e-10)
    np.testing.assert_allclose(Transform((first,)).then(Transform((second,)))(points), chain(points), atol=1e-12)


def test_identity_has_no_stages():
    points = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(Transform()(points), points)
    np.testing.assert_array_equal(Transform().matrix, np.eye(4))


def test_inverse_of_field_then_affine():
    transform = Transform((field_of(OBLIQUE, waves(2.0, 70.0)), Affine(rigid("y", 15, (30, -10, 5)))))
    points = world(OBLIQUE)[inner(OBLIQUE)].reshape(-1, 3)
    assert np.abs(transform.inverse()(transform(points)) - points).max() < 0.2
    assert transform.linear_part().stages == transform.stages[1:]


def test_points_keep_their_shape_and_precision():
    transform = Transform((field_of(OBLIQUE, waves(2.0)), Affine(np.eye(4))))
    for shape in ((5, 3), (2, 3, 4, 3)):
        assert transform(np.zeros(shape, np.float32)).shape == shape
    assert transform(np.zeros((2, 3), np.float32)).dtype == np.float64


def test_a_single_point_is_mapped():
    field = field_of(OBLIQUE, waves(2.0))
    point = OBLIQUE.centre + np.array([3.0, -2.0, 5.0])
    assert Transform((field,))(point).shape == (3,)
    np.testing.assert_array_equal(field.at(point), field.at(point[None])[0])
    np.testing.assert_array_equal(Transform((field, Affine(rigid("x", 9))))([0.0, 0.0, 0.0]).shape, (3,))


def test_each_point_of_an_inverse_converges_on_its_own():
    # A fold in one corner, which never settles, changes nothing elsewhere.
    grid = grid_of((2, 2, 2), (60, 40, 40))
    vectors = waves(2.0, 60.0)(world(grid)).astype(np.float32)
    spoilt = vectors.copy()
    spoilt[:4, :4, :4] = np.random.default_rng(5).normal(0, 12, (4, 4, 4, 3))
    clean, other = (Displacement(grid, v).inverse().vectors for v in (vectors, spoilt))
    np.testing.assert_array_equal(clean[15:], other[15:])
    assert np.isfinite(other).all()


def test_a_transform_as_voxels_followed_by_a_matrix():
    grid = Grid((7, 6, 5), np.diag([2.0, -1.5, 3.0, 1.0]))
    matrix = np.eye(4)
    matrix[:3, 3] = (4.0, -3.0, 2.0)
    turned = Affine(rigid("z", 20, (1, 2, 3)))
    u = voxel_displacement(Transform((turned,)), matrix, grid)
    found = Transform((Displacement.of_voxels(grid, u), Affine(matrix)))
    points = grid.to_world(np.argwhere(np.ones(grid.shape)))
    np.testing.assert_allclose(found(points), turned(points), atol=1e-4)
