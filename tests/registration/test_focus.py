"""An affine map that has to serve one part of the body serves that part, and says nothing where there is no part."""

import numpy as np
import pytest

from atlassegfm.registration.builtin import deformable
from atlassegfm.registration.focus import MARGIN_MM, Focus, refine
from atlassegfm.registration.result import Settings
from atlassegfm.registration.transform import Affine
from atlassegfm.volume import Grid, Volume

from .phantoms import apply, grid_of, label_map, rigid, scan
from .test_initialise import scaled

GRID = grid_of()
#: The body's part 1 (see `phantoms.PARTS`) and a motion that it makes alone.
CENTRE = np.array((26.0, 6.0, 16.0))
MOTION = rigid("z", 14, (5.0, -4.0, 3.0))


def to_body(points):
    """The body with part 1 moved about its centre: the motion fades out 30 to 60 mm away from it."""
    away = np.linalg.norm(points - CENTRE, axis=-1, keepdims=True)
    weight = np.clip((60.0 - away) / 30.0, 0.0, 1.0)
    return points + weight * (apply(np.linalg.inv(MOTION), points - CENTRE) + CENTRE - points)


@pytest.fixture(scope="module")
def pair():
    return scan(GRID, to_body), scan(GRID, seed=3)


@pytest.fixture(scope="module")
def part():
    labels = label_map(GRID)
    return labels.with_data((labels.data == 1).astype(np.uint8))


def miss(matrix):
    """How far the matrix puts points of the moved part from where they belong, in mm."""
    points = apply(MOTION, np.random.default_rng(0).uniform(-15, 15, (50, 3))) + CENTRE
    return float(np.linalg.norm(Affine(matrix)(points) - to_body(points), axis=-1).mean())


def test_refining_fits_the_labelled_part(pair, part):
    images = tuple(scaled(image) for image in pair)
    (fit,) = refine([np.eye(4)], images, Focus.of(part))
    assert miss(np.eye(4)) > 5.0
    assert miss(fit.matrix) < 0.4 * miss(np.eye(4))


def test_scales_and_shears_stay(pair, part):
    stretched = np.diag([1.1, 0.95, 1.0, 1.0])
    (fit,) = refine([stretched], tuple(scaled(image) for image in pair), Focus.of(part))
    linear, before = fit.matrix[:3, :3], stretched[:3, :3]
    np.testing.assert_allclose(linear.T @ linear, before.T @ before, atol=1e-6)
    assert not np.allclose(linear, before)


def test_the_labels_may_lie_on_the_fixed_image(pair, part):
    """The other way round: the part's own image is the fixed one."""
    moved, plain = (scaled(image) for image in pair)
    (fit,) = refine([np.eye(4)], (plain, moved), Focus.of(part, on_fixed=True))
    assert miss(np.linalg.inv(fit.matrix)) < 0.4 * miss(np.eye(4))


def test_the_deformable_method_starts_from_it(pair, part):
    focused = deformable(*pair, Settings(options={"quality": "fast"}, focus=Focus.of(part)))
    plain = deformable(*pair, Settings(options={"quality": "fast"}))
    assert miss(np.array(focused.metrics["matrix"])) < 0.8 * miss(np.array(plain.metrics["matrix"]))
    assert "focus" in focused.seconds
    assert "focus" not in plain.seconds


def test_labels_that_fill_the_image_need_no_focus(pair):
    whole = Focus.of(Volume(np.ones(GRID.shape, np.uint8), GRID))
    assert not whole.narrows(pair)
    plain = deformable(*pair, Settings(options={"quality": "fast"}))
    same = deformable(*pair, Settings(options={"quality": "fast"}, focus=whole))
    assert same.metrics["matrix"] == plain.metrics["matrix"]


def test_alignments_that_do_not_meet_the_part_stay(pair, part):
    away = np.eye(4)
    away[:3, 3] = 500.0
    (fit,) = refine([away], tuple(scaled(image) for image in pair), Focus.of(part))
    np.testing.assert_array_equal(fit.matrix, away)
    assert fit.score == 0.0


def test_the_box_reaches_the_outer_faces_of_the_voxels():
    data = np.zeros((6, 5, 4), np.uint8)
    data[2, 1, 3], data[4, 1, 3] = 1, 7
    labels = Volume(data, Grid(data.shape, np.diag([2.0, 3.0, 4.0, 1.0])))
    corners = np.array(Focus.of(labels).corners)
    np.testing.assert_allclose(corners.min(axis=0), (3.0, 1.5, 10.0))
    np.testing.assert_allclose(corners.max(axis=0), (9.0, 4.5, 14.0))
    np.testing.assert_allclose(np.array(Focus.of(labels, [7]).corners).min(axis=0), (7.0, 1.5, 10.0))
    assert Focus.of(labels, [3]) is None
    assert Focus.of(labels.with_data(np.zeros_like(data))) is None


def test_the_part_is_cut_from_the_image_that_has_the_labels(pair, part):
    focus = Focus.of(part)
    fixed, moving = focus.parts(pair)
    assert fixed is pair[0]
    reach = np.abs(moving.grid.corners - CENTRE).max(axis=0)
    assert (reach <= np.array((24, 24, 20)) + MARGIN_MM + 2 * 4.0).all()
    fixed, moving = focus.exchanged().parts(pair)
    assert moving is pair[1]
    assert fixed.grid.size < pair[0].grid.size
    assert focus.exchanged().exchanged() == focus


def test_a_box_outside_the_image_leaves_a_voxel():
    image = Volume(np.random.default_rng(0).random((6, 6, 6)).astype(np.float32), Grid((6, 6, 6), np.eye(4)))
    far = Focus(((900.0, 900.0, 900.0),) * 8)
    assert far.parts((image, image))[1].grid.shape == (1, 1, 1)
