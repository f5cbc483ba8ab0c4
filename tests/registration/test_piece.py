"""The finest level on a part of the images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, map_coordinates

from atlassegfm.registration import plans
from atlassegfm.registration.builtin import deformable
from atlassegfm.registration.focus import Focus
from atlassegfm.registration.piece import MARGIN_MM, piece_of
from atlassegfm.registration.result import Settings
from atlassegfm.volume import Grid, Volume

GRID = Grid((30, 28, 26), np.diag([4.0, 4.0, 4.0, 1.0]))
STILL = torch.zeros(3, *GRID.shape)


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    return tuple(Volume(rng.random(GRID.shape, dtype=np.float32), GRID) for _ in range(2))


def focus(low=(12, 12, 12), high=(16, 15, 14), **kwargs) -> Focus:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return Focus.of(Volume(labels, GRID), **kwargs)


def starts(piece):
    return [cut.start for cut in piece.box]


@pytest.mark.parametrize("on_fixed", [False, True])
def test_it_is_the_labels_box_and_a_margin_of_either_image(pair, on_fixed):
    piece = piece_of(focus(on_fixed=on_fixed), pair, np.eye(4), STILL)
    margin = int(np.ceil(MARGIN_MM / 4.0))
    assert starts(piece) == [12 - margin] * 3
    assert [cut.stop for cut in piece.box] == [16 + margin, 15 + margin, 14 + margin]
    fixed, moving = piece.pair
    np.testing.assert_array_equal(fixed.data, pair[0].data[piece.box])
    np.testing.assert_allclose(fixed.grid.to_world((0, 0, 0)), GRID.to_world(starts(piece)))
    at = GRID.to_voxel(moving.grid.to_world((0, 0, 0))).round().astype(int)
    np.testing.assert_array_equal(at, np.array(starts(piece)) - margin)
    np.testing.assert_array_equal(
        moving.data, pair[1].data[tuple(slice(a, a + n) for a, n in zip(at, moving.data.shape, strict=True))]
    )


def test_the_labels_are_where_matrix_and_displacement_take_the_voxels(pair):
    """The atlas's labels lie 8 mm further than the query's along one axis, 12 mm along another."""
    matrix, u = np.eye(4), STILL.clone()
    matrix[0, 3], u[1] = 8.0, 3.0
    still, moved = (piece_of(focus(), pair, m, d) for m, d in ((np.eye(4), STILL), (matrix, u)))
    assert np.subtract(starts(moved), starts(still)).tolist() == [-2, -3, 0]


def test_labels_out_of_sight_or_all_over_have_no_piece(pair):
    away = np.eye(4)
    away[0, 3] = 500.0
    assert piece_of(focus(), pair, away, STILL) is None
    assert piece_of(focus((1, 1, 1), (29, 27, 25)), pair, np.eye(4), STILL) is None


def test_what_was_found_passes_into_what_was_there():
    fixed = Volume(np.zeros(GRID.shape, np.float32), GRID)
    piece = piece_of(focus((0, 12, 12)), (fixed, fixed), np.eye(4), STILL)
    u = torch.full_like(STILL, 2.0)
    assert piece.part(u).shape == (3, *piece.pair[0].grid.shape)
    out = piece.blended(u, torch.full((3, *piece.pair[0].grid.shape), 6.0))
    assert (u == 2.0).all()  # not written to
    assert (out[:, :16, 12:15, 12:14] == 6.0).all()  # the labels; the image ends there, so nothing passes
    outside = torch.ones(GRID.shape, dtype=torch.bool)
    outside[piece.box] = False
    assert (out[:, outside] == 2.0).all()
    assert float((out[:, 1:] - out[:, :-1]).abs().max()) <= 4.0 / (MARGIN_MM / 4.0) + 1e-5


def test_labels_of_a_small_part_are_registered_as_well_there_in_less_of_the_level(monkeypatch):
    """`fast` finds a bump near the label, and leaves what lies far off to the coarser level."""
    texture = np.random.default_rng(1).normal(0, 1, (48, 48, 48))
    grid = Grid(texture.shape, np.diag([3.0, 3.0, 3.0, 1.0]))
    moving = gaussian_filter(texture, 2.0).astype(np.float32)
    at = np.indices(texture.shape).astype(np.float64)
    at[0] += 1.5 * np.exp(-((at - 24.0) ** 2).sum(axis=0) / (2 * 5.0**2))
    fixed = map_coordinates(moving, at, order=1, mode="nearest")
    labels = np.zeros(texture.shape, np.uint8)
    labels[20:28, 20:28, 20:28] = 1
    images = [Volume(x, grid) for x in (fixed, moving)]
    settings = Settings(options={"quality": "fast"}, focus=Focus.of(Volume(labels, grid)))
    monkeypatch.setattr(plans, "FEWEST_VOXELS", 90_000)
    found = deformable(*images, settings)
    points = grid.to_world(np.argwhere(labels))
    wanted = grid.to_world(at[:, labels > 0].T)
    assert np.linalg.norm(found.transform(points) - wanted, axis=1).mean() < 1.5  # 3.4 mm if nothing had been bent
    whole = deformable(*images, replace(settings, focus=None))
    assert found.transform.stages[0].grid.size >= whole.transform.stages[0].grid.size
