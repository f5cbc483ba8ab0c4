import numpy as np
import pytest

from atlassegfm.quality.shapes import FEWEST_FOLLOWED, distortion, radius, spread, thickness_ratio
from atlassegfm.volume import Grid

GRID = Grid((48, 48, 24), np.diag([1.0, 1.0, 2.0, 1.0]))


def ball(radius_mm: float) -> np.ndarray:
    offsets = (np.indices(GRID.shape) - np.reshape([24, 24, 12], (3, 1, 1, 1))) * np.reshape(GRID.spacing, (3, 1, 1, 1))
    return (offsets**2).sum(axis=0) <= radius_mm**2


def test_the_radius_of_a_ball_is_its_radius_whatever_the_spacing():
    assert radius(ball(15.0), GRID.spacing) == pytest.approx(15.0, rel=0.07)
    assert radius(np.zeros((3, 3, 3), bool), (1.0, 1.0, 1.0)) == 0.0


def test_the_spread_of_a_ball_is_its_radius_and_that_of_a_rod_goes_with_its_length():
    assert spread(ball(15.0), GRID.spacing) == pytest.approx(15.0, rel=0.05)
    rod = np.zeros((60, 5, 5), bool)
    rod[10:50, 2, 2] = True
    # 40 mm long: the variance of a uniform distribution is a twelfth of the squared length.
    assert spread(rod, (1.0, 1.0, 1.0)) == pytest.approx(np.sqrt(5 / 3 * 40**2 / 12), rel=0.01)
    assert spread(rod & False, (1.0, 1.0, 1.0)) == 0.0


def test_an_affine_map_distorts_nothing():
    matrix = np.array([[1.2, 0.3, 0.0], [-0.2, 0.8, 0.1], [0.0, 0.0, 1.1]])
    assert distortion(ball(15.0), GRID, lambda p: p @ matrix.T + [5.0, -80.0, 3.0], 15.0) == pytest.approx(0, abs=1e-9)


def test_a_bend_counts_by_its_size_over_the_labels():
    def bent(points: np.ndarray) -> np.ndarray:
        return points + np.stack([4.0 * np.cos(points[:, 1] / 3.0), 0 * points[:, 1], 0 * points[:, 2]], axis=-1)

    small, large = (distortion(ball(15.0), GRID, bent, size) for size in (10.0, 20.0))
    # A wave of amplitude 4 mm is off by 4 / sqrt(2) mm on average; next to none of it is affine.
    assert small == pytest.approx(4 / np.sqrt(2) / 10, rel=0.1)
    assert large == pytest.approx(small / 2)


def test_where_the_grid_lies_in_the_world_does_not_matter():
    far = Grid(GRID.shape, np.array([[1, 0, 0, 4e3], [0, 1, 0, -7e3], [0, 0, 2, 9e3], [0, 0, 0, 1.0]]))
    origin = far.affine[:3, 3]
    values = [
        distortion(ball(15.0), grid, lambda p, at=at: (p - at) ** 2 / 50.0, 15.0)
        for grid, at in ((GRID, 0.0), (far, origin))
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert values[0] > 0.05


def test_a_few_voxels_say_nothing():
    mask = np.zeros(GRID.shape, bool)
    mask.flat[: FEWEST_FOLLOWED - 1] = True
    assert distortion(mask, GRID, lambda p: p**2, 3.0) is None
    assert distortion(ball(9.0), GRID, lambda p: p**2, 0.0) is None


def test_thickness_is_told_beside_the_size_of_the_body():
    twice_as_large = np.diag([0.5, 0.5, 0.5, 1.0])  # query points to atlas points
    assert thickness_ratio(20.0, 10.0, twice_as_large) == pytest.approx(1.0)
    assert thickness_ratio(5.0, 10.0, np.eye(4)) == pytest.approx(0.5)
    assert thickness_ratio(0.0, 10.0, np.eye(4)) is None
    assert thickness_ratio(5.0, 0.0, np.eye(4)) is None
