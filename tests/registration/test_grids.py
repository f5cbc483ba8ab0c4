"""Tensor helpers against SciPy and NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from atlassegfm.registration.grids import (
    apply_matrix,
    box_sum,
    gradient,
    identity,
    inside,
    lengths,
    sample,
    smooth,
    smooth_inside,
    voxel_map,
    working_copy,
)

from .phantoms import grid_of, rigid, scan, world

SHAPES = [(9, 8, 11), (5, 1, 7), (2, 3, 1)]


def noise(*shape: int) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(0).normal(size=shape).astype(np.float32))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [1, 2, 4])
def test_box_sum_is_scipys_uniform_filter(shape, radius):
    x = noise(2, *shape)
    width = 2 * radius + 1
    wanted = [ndimage.uniform_filter(c.numpy().astype(float), width, mode="constant") * width**3 for c in x]
    np.testing.assert_allclose(box_sum(x, radius), wanted, atol=1e-4)


def test_box_sum_leaves_its_input():
    x = noise(1, 5, 5, 5)
    before = x.clone()
    box_sum(x, 2)
    smooth(x, 1.5)
    gradient(x[0])
    assert torch.equal(x, before)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_smooth_is_scipys_gaussian(shape, sigma):
    x = noise(2, *shape)
    radius = max(1, int(np.ceil(3 * sigma)))
    wanted = [ndimage.gaussian_filter(c.numpy().astype(float), sigma, mode="constant", radius=radius) for c in x]
    np.testing.assert_allclose(smooth(x, sigma), wanted, atol=1e-5)


def test_smooth_by_nothing_is_the_same():
    x = noise(1, 4, 4, 4)
    assert torch.equal(smooth(x, 0.0), x)
    assert torch.equal(smooth_inside(x, 0.0), x)


def test_smooth_inside_keeps_a_constant_up_to_the_border():
    x = torch.full((3, 7, 6, 9), 4.0)
    torch.testing.assert_close(smooth_inside(x, 1.5), x)


@pytest.mark.parametrize("shape", [(9, 8, 11), (5, 2, 7), (4, 1, 3)])
def test_gradient_is_numpys(shape):
    x = noise(*shape)
    for axis, part in enumerate(gradient(x)):
        wanted = np.gradient(x.numpy(), axis=axis) if shape[axis] > 1 else np.zeros(shape)
        np.testing.assert_allclose(part, wanted, atol=1e-6)


def test_lengths_are_numpys_norms():
    v = torch.randn(3, 4, 5, 6, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(lengths(v).numpy(), np.linalg.norm(v.numpy(), axis=0), rtol=1e-6)


def test_sample_is_scipys_linear_interpolation():
    image = noise(2, 7, 9, 6)
    coords = torch.as_tensor(np.random.default_rng(1).uniform(-2, 10, (3, 5, 4, 3)).astype(np.float32))
    wanted = [ndimage.map_coordinates(c.numpy(), coords.numpy(), order=1, mode="nearest") for c in image]
    np.testing.assert_allclose(sample(image, coords), wanted, atol=1e-5)


def test_sample_beyond_the_border_is_zero_when_asked():
    image = torch.ones(1, 4, 4, 4)
    coords = torch.tensor([[-3.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
    np.testing.assert_allclose(sample(image, coords, border=False), [[0.0, 1.0]], atol=1e-6)
    np.testing.assert_allclose(sample(image, coords), [[1.0, 1.0]], atol=1e-6)


def test_sample_at_its_own_voxels_is_the_image():
    image = noise(1, 5, 6, 7)
    np.testing.assert_allclose(sample(image, identity((5, 6, 7))), image, atol=1e-5)


def test_identity_and_inside():
    grid = identity((3, 4, 5))
    assert grid[:, 1, 2, 3].tolist() == [1, 2, 3]
    coords = torch.tensor([[-0.6, -0.4, 2.4, 2.6], [0.0] * 4, [0.0] * 4])
    assert inside(coords, (3, 4, 5)).tolist() == [0, 1, 1, 0]


def test_voxel_map_goes_through_the_world():
    fixed = grid_of((4, 3, 5), turn_deg=(10, 20, 30), flips=(-1, 1, 1), order=(1, 2, 0))
    moving = grid_of((2, 6, 3), turn_deg=(-5, 0, 15), centre=(10, 20, 30))
    matrix = rigid("x", 25, (4, 5, 6))
    ijk = np.random.default_rng(0).uniform(0, 20, (50, 3))
    wanted = moving.to_voxel(fixed.to_world(ijk) @ matrix[:3, :3].T + matrix[:3, 3])
    got = apply_matrix(voxel_map(fixed, moving, matrix), torch.as_tensor(ijk.T.astype(np.float32)))
    np.testing.assert_allclose(got.T, wanted, atol=1e-4)
    np.testing.assert_allclose(voxel_map(fixed, fixed), np.eye(4), atol=1e-12)


def test_working_copy_is_isotropic_over_the_same_field_of_view():
    image = scan(grid_of((2, 3, 8), turn_deg=(5, 10, 15)), noise=0)
    copy = working_copy(image, 4.0)
    np.testing.assert_allclose(copy.spacing, 4.0)
    np.testing.assert_allclose(copy.grid.centre, image.grid.centre, atol=1e-6)
    assert (copy.grid.extent_mm >= image.grid.extent_mm - 1e-6).all()
    assert (copy.grid.extent_mm < image.grid.extent_mm + 4.0).all()
    assert copy.data.dtype == np.float32
    direct = scan(copy.grid, noise=0)
    inner = (slice(3, -3),) * 3
    assert np.corrcoef(copy.data[inner].ravel(), direct.data[inner].ravel())[0, 1] > 0.98
    assert world(copy.grid).shape == (*copy.grid.shape, 3)
