"""What the voxelwise model sees."""

import numpy as np
import pytest
from scipy import ndimage

from atlassegfm.models.features import signed_distance
from atlassegfm.models.scene import MARGIN, Scene
from atlassegfm.volume import Grid, Volume

GRID = Grid((90, 80, 70), np.diag([1.0, 1.0, 2.0, 1.0]))


@pytest.fixture(scope="module")
def seen() -> tuple[Scene, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    image = Volume(ndimage.gaussian_filter(rng.normal(size=GRID.shape), 1.0).astype(np.float32), GRID)
    mask, other = np.zeros(GRID.shape, bool), np.zeros(GRID.shape, bool)
    mask[40:50, 36:46, 32:37] = True
    other[50:54, 36:46, 32:37] = True
    return Scene.around(image, mask | other, 10.0), mask, other


def test_it_shows_the_labels_and_their_surroundings(seen):
    scene, mask, other = seen
    unit = GRID.voxel_edge_mm
    margin = np.ceil(MARGIN * unit / GRID.spacing).astype(int)
    assert scene.box == (slice(40 - margin[0], 54 + margin[0]), slice(36 - margin[1], 46 + margin[1]), slice(18, 51))
    assert scene.is_around(mask | other)
    assert not scene.is_around(mask)


def test_nothing_to_look_at():
    image = Volume(np.zeros(GRID.shape, np.float32), GRID)
    assert Scene.around(image, np.zeros(GRID.shape, bool), 10.0) is None


def test_a_view_is_the_band_around_a_prior(seen):
    scene, mask, other = seen
    view = scene.view(mask, other, 4.0, 2.0)
    there = np.zeros(GRID.shape, bool)
    there[tuple(view.index().T)] = True
    np.testing.assert_array_equal(there, np.abs(signed_distance(mask, GRID.spacing)) <= 4.0)
    assert len(view.rows) == np.count_nonzero(there)
    assert np.isfinite(view.rows).all()
    assert scene.view(np.zeros(GRID.shape, bool), other, 4.0, 2.0) is None


def test_the_size_of_the_error_is_the_last_feature(seen):
    scene, mask, other = seen
    small, large = (scene.view(mask, other, 4.0, size) for size in (2.0, 8.0))
    assert (small.rows[:, -1] == 1.0).all()
    assert (large.rows[:, -1] == 3.0).all()
    np.testing.assert_array_equal(small.rows[:, :-1], large.rows[:, :-1])


def test_outside_the_band_the_prior_stands(seen):
    scene, mask, other = seen
    view = scene.view(mask, other, 1.5, 2.0)
    answer = scene.probabilities(view, np.full(len(view.rows), 0.5, np.float32))
    assert answer.shape == GRID.shape
    assert answer[45, 41, 34] == pytest.approx(1.0, abs=1e-3)
    assert answer[49, 41, 34] == pytest.approx(0.5, abs=0.1)
    assert answer[70, 41, 34] == 0.0
