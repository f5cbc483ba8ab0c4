"""Weights by hand."""

import numpy as np
import pytest
from vote_scene import GRID, scan, warped

from atlassegfm.atlases.patches import PatchSettings, joint_weights, local_weights, patch_weights
from atlassegfm.volume import Grid


def test_joint_weights_by_hand():
    # Independent errors: inverse to the expected error, as 1/1 to 1/4.
    assert joint_weights(np.diag([1.0, 4.0]), 0.0) == pytest.approx([0.8, 0.2])
    # Two atlases that err together share the weight of one; the third, equally good, has the other half.
    twins = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert joint_weights(twins, 1e-6) == pytest.approx([0.25, 0.25, 0.5], abs=1e-4)
    assert joint_weights(np.zeros((2, 2)), 0.1) == pytest.approx([0.5, 0.5])


def test_local_weights_by_hand():
    assert local_weights(np.diag([1.0, 4.0]), 1.0) == pytest.approx([0.8, 0.2], abs=1e-4)
    assert local_weights(np.diag([1.0, 4.0]), 2.0) == pytest.approx([16 / 17, 1 / 17], abs=1e-4)
    assert local_weights(np.zeros((2, 2)), 2.0) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("spacing", [0.5, 8.0])
def test_weights_add_up_and_are_equal_where_all_agree(spacing):
    atlases = [warped(4, 1), warped(0, 2)]
    settings = PatchSettings(spacing_mm=spacing)
    weights, means = patch_weights(scan(0, seed=9)[0], atlases, joint=True, settings=settings)
    assert weights.shape == (2, *GRID.shape)
    assert weights.dtype == np.float32
    assert weights.sum(axis=0) == pytest.approx(np.ones(GRID.shape), abs=1e-4)
    assert weights[:, 0, 0, 0] == pytest.approx([0.5, 0.5])
    assert means[1] > 0.6 > means[0]
    same, means = patch_weights(scan(0)[0], [atlases[0], atlases[0]], joint=True)
    assert (same == 0.5).all()
    assert means == [0.5, 0.5]


def test_the_search_window_forgives_a_small_shift():
    atlases = [warped(1, 1), warped(-4, 2)]
    near = [
        patch_weights(scan(0, seed=9)[0], atlases, joint=False, settings=PatchSettings(search_radius_mm=radius))[1][0]
        for radius in (0.0, 4.0)
    ]
    assert near[1] > near[0] > 0.5


def test_patches_shrink_with_small_scans():
    body, mouse = (PatchSettings.of_scan(Grid((50, 50, 50), np.diag([s, s, s, 1.0]))) for s in (6.0, 0.3))
    assert body == PatchSettings()
    assert mouse.patch_radius_mm == pytest.approx(1.5)
    assert mouse.spacing_mm == pytest.approx(0.375)
