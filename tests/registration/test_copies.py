"""Working copies: bounded, clamped, shared while the scan lives."""

import gc

import numpy as np
import pytest

from atlassegfm.errors import RegistrationError
from atlassegfm.registration import copies
from atlassegfm.registration.copies import TARGET_VOXELS, clamped, scaled_copy, working_spacing
from atlassegfm.volume import Grid, Volume


def test_working_spacing_never_beats_the_scan_and_bounds_the_cost():
    def image(shape, spacing):
        grid = Grid(shape, np.diag([*spacing, 1.0]))
        return Volume(np.broadcast_to(np.float32(0), shape), grid)

    small = image((35, 50, 35), (1.0, 1.0, 1.0))
    assert working_spacing(small, small) == 1.0
    large = image((512, 512, 400), (0.8, 0.8, 1.0))
    thick = image((100, 100, 20), (1.0, 1.0, 8.0))
    assert working_spacing(thick, small) == working_spacing(small, thick) == 2.0
    spacing = working_spacing(large, large)
    assert np.prod(large.grid.with_spacing(spacing).shape) < 1.1 * TARGET_VOXELS


def test_clamping_scales_to_the_unit_interval_and_refuses_a_constant():
    grid = Grid((10, 10, 10), np.eye(4))
    data = np.linspace(-5, 100, 1000, dtype=np.float32).reshape(10, 10, 10)
    data[0, 0, 0] = 1e6
    out = clamped(Volume(data, grid)).data
    assert out.min() == 0.0
    assert out.max() == 1.0
    assert np.median(out) == pytest.approx(0.5, abs=0.02)
    with pytest.raises(RegistrationError, match="constant"):
        clamped(Volume(np.full(grid.shape, 7.0), grid))


def noise(seed=0):
    return Volume(np.random.default_rng(seed).normal(size=(12, 10, 8)), Grid((12, 10, 8), np.diag([2, 2, 3, 1])))


def test_a_copy_is_made_once_per_scan_and_size():
    image = noise()
    first = scaled_copy(image, 4.0)
    assert scaled_copy(image, 4.0) is first
    assert scaled_copy(image, 5.0) is not first
    assert scaled_copy(noise(), 4.0) is not first
    np.testing.assert_allclose(first.spacing, 4.0)
    assert 0.0 <= first.data.min() < first.data.max() <= 1.0


def test_copies_go_with_their_scan():
    image = noise(1)
    scaled_copy(image, 4.0)
    key = id(image)
    assert key in copies._kept._known
    del image
    gc.collect()
    assert key not in copies._kept._known


def test_scans_of_a_cohort_share_the_atlas_copy():
    def extent(n):
        return Volume(np.zeros((n, n, n), np.float32), Grid((n, n, n), np.eye(4)))

    assert working_spacing(extent(300), extent(280)) == working_spacing(extent(302), extent(280))
