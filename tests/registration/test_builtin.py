"""The default registration as a whole: any start, any field of view."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from atlassegfm.errors import RegistrationError
from atlassegfm.phantom import make_pair
from atlassegfm.registration.builtin import TARGET_VOXELS, clamped, working_spacing
from atlassegfm.registration.registry import register
from atlassegfm.registration.result import Settings
from atlassegfm.registration.transform import Affine
from atlassegfm.resampling import resample_labels
from atlassegfm.volume import Grid, Volume


@pytest.fixture(scope="module")
def pair():
    return make_pair(seed=0, shape=(48, 40, 32), spacing=(5.0, 5.0, 6.0))


def mean_dice(pair, query: Volume, truth: Volume) -> tuple[float, dict]:
    result = register(query, pair.image, "default", Settings())
    warped = resample_labels(pair.labels, query.grid, result.transform).data
    scores = []
    for value in pair.names:
        found, wanted = warped == value, truth.data == value
        if wanted.sum() > 50:
            scores.append(2.0 * (found & wanted).sum() / (found.sum() + wanted.sum()))
    return float(np.mean(scores)), result.metrics


@pytest.fixture(scope="module")
def untouched(pair) -> float:
    return mean_dice(pair, pair.query, pair.truth)[0]


def moved(volume: Volume, motion: np.ndarray) -> Volume:
    return Volume(volume.data, Grid(volume.grid.shape, motion @ volume.affine))


MOTIONS = {
    "shift of 100 mm": (np.zeros(3), (60.0, -70.0, 40.0)),
    "30 degrees about x": (np.array([30.0, 0, 0]), (0, 0, 0)),
    "-30 degrees about y": (np.array([0, -30.0, 0]), (0, 0, 0)),
    "30 degrees about z and a shift": (np.array([0, 0, 30.0]), (40.0, 0, 0)),
}


@pytest.mark.parametrize("name", list(MOTIONS))
def test_bad_headers_do_not_matter(pair, untouched, name):
    angles, shift = MOTIONS[name]
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    motion[:3, 3] = shift
    score, _ = mean_dice(pair, moved(pair.query, motion), moved(pair.truth, motion))
    assert score > untouched - 0.05


def test_a_query_that_shows_half_of_the_body(pair, untouched):
    box = (slice(0, pair.query.grid.shape[0]), slice(0, pair.query.grid.shape[1]), slice(0, 20))
    grid = pair.query.grid.cropped(box)
    score, _ = mean_dice(pair, Volume(pair.query.data[box], grid), Volume(pair.truth.data[box], grid))
    assert score > untouched - 0.12


def test_facts_and_no_folds(pair):
    _, metrics = mean_dice(pair, pair.query, pair.truth)
    assert metrics["folding_percent"] == 0.0
    assert metrics["lncc"][-1][1] > metrics["lncc"][-1][0] > 0.0
    assert metrics["candidate_scores"] == sorted(metrics["candidate_scores"], reverse=True)


@pytest.mark.parametrize("method", ["rigid", "affine", "identity"])
def test_linear_methods_give_one_matrix(pair, method):
    result = register(pair.query, pair.image, method, Settings())
    assert [type(stage) for stage in result.transform.stages] == [Affine]
    linear = result.transform.matrix[:3, :3]
    if method == "rigid":
        np.testing.assert_allclose(linear @ linear.T, np.eye(3), atol=1e-6)
    if method == "identity":
        np.testing.assert_array_equal(result.transform.matrix, np.eye(4))


def test_same_bytes_twice(pair):
    first, second = (register(pair.query, pair.image, "default", Settings()).transform for _ in range(2))
    assert first.stages[0].vectors.tobytes() == second.stages[0].vectors.tobytes()


def test_working_spacing_never_beats_the_scan_and_bounds_the_cost():
    def image(shape, spacing):
        grid = Grid(shape, np.diag([*spacing, 1.0]))
        return Volume(np.broadcast_to(np.float32(0), shape), grid)

    small = image((35, 50, 35), (1.0, 1.0, 1.0))
    assert working_spacing(small, small) == 1.0
    large = image((512, 512, 400), (0.8, 0.8, 1.0))
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
