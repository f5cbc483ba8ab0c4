"""The default registration as a whole: any start, any field of view."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from atlassegfm.errors import RegistrationError
from atlassegfm.phantom import make_pair
from atlassegfm.registration.deformable import RETRY_APART
from atlassegfm.registration.registry import register
from atlassegfm.registration.result import Settings
from atlassegfm.registration.transform import Affine
from atlassegfm.resampling import resample_labels
from atlassegfm.volume import Grid, Volume


@pytest.fixture(scope="module")
def pair():
    return make_pair(seed=0, shape=(48, 40, 32), spacing=(5.0, 5.0, 6.0))


def mean_dice(pair, query: Volume, truth: Volume, quality: str = "default") -> tuple[float, dict]:
    result = register(query, pair.image, "default", Settings(options={"quality": quality}))
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
    attempt = metrics["attempts"][0]
    assert attempt["starts"] == "usual"
    assert attempt["candidate_scores"] == sorted(attempt["candidate_scores"], reverse=True)
    assert metrics["doubts"] == []
    assert 0.0 < metrics["inverse_consistency_percent"] < 6.0


@pytest.mark.parametrize(("axis", "degrees"), [("z", 180), ("x", 90)])
def test_a_header_that_lies_by_right_angles_is_tried_again(axis, degrees):
    pair = make_pair(seed=0)
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    plain, _ = mean_dice(pair, pair.query, pair.truth, "fast")
    score, metrics = mean_dice(pair, moved(pair.query, motion), moved(pair.truth, motion), "fast")
    assert score > plain - 0.02
    assert [attempt["starts"] for attempt in metrics["attempts"]] == ["usual", "wide"]
    assert metrics["attempts"][1]["apart_percent"] < 100 * RETRY_APART
    assert not metrics["doubts"]


def test_images_of_different_things_come_with_a_warning(pair):
    rng = np.random.default_rng(3)
    blobs = gaussian_filter(rng.normal(size=pair.query.grid.shape), 3.0).astype(np.float32)
    try:
        result = register(Volume(blobs, pair.query.grid), pair.image, "default", Settings())
    except RegistrationError as error:
        assert "look alike" in str(error)  # noqa: PT017
        return
    assert len(result.metrics["attempts"]) == 2
    assert result.metrics["doubts"]
    assert all(warning.startswith("the registration looks wrong: ") for warning in result.warnings)
    assert result.warnings


def test_more_work_for_more_quality():
    pair = make_pair(seed=0, shape=(60, 50, 40), spacing=(4.0, 4.0, 5.0))
    found = {name: mean_dice(pair, pair.query, pair.truth, name) for name in ("fast", "default", "best")}
    spacing = {name: facts["working_spacing_mm"] for name, (_, facts) in found.items()}
    assert spacing["fast"] >= spacing["default"] >= spacing["best"]
    assert found["best"][0] > found["default"][0] - 0.01
    assert sum(found["fast"][1]["steps"]) < sum(found["default"][1]["steps"])
    assert found["fast"][0] > found["default"][0] - 0.05


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


def test_a_scan_on_itself_is_not_doubted(pair):
    result = register(pair.image, pair.image, "default", Settings())
    assert result.metrics["doubts"] == []
    assert not result.warnings
