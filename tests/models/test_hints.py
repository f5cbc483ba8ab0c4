"""Shapes that prompts stand for."""

import numpy as np
import pytest

from atlassegfm.models.hints import mask_of_prompt
from atlassegfm.prompts import make_prompt
from atlassegfm.volume import Grid

GRID = Grid((40, 36, 20), np.diag([1.0, 1.0, 2.0, 1.0]))


@pytest.fixture
def ellipsoid() -> np.ndarray:
    i, j, k = np.meshgrid(*map(np.arange, GRID.shape), indexing="ij")
    return (((i - 20) / 9) ** 2 + ((j - 17) / 9) ** 2 + ((k - 10) / 4.5) ** 2 < 1).astype(np.float32)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("kind", ["mask", "box", "box2d", "click"])
def test_a_ball_is_found_again_from_every_prompt(ellipsoid, kind):
    size = ellipsoid.sum() * GRID.voxel_volume_ml
    mask = mask_of_prompt(make_prompt(kind, ellipsoid, GRID, 1), GRID, size)
    assert dice(mask, ellipsoid > 0.5) > (0.999 if kind == "mask" else 0.9)


def test_click_gives_the_volume_asked_for(ellipsoid):
    mask = mask_of_prompt(make_prompt("click", ellipsoid, GRID, 1), GRID, 2.0)
    assert mask.sum() * GRID.voxel_volume_ml == pytest.approx(2.0, rel=0.1)


def test_a_tiny_label_still_has_a_voxel():
    one = np.zeros(GRID.shape, np.float32)
    one[3, 4, 5] = 1
    for kind in ("click", "box", "box2d"):
        mask = mask_of_prompt(make_prompt(kind, one, GRID, 1), GRID, 1e-4)
        assert mask[3, 4, 5]
        assert mask.sum() <= 8
