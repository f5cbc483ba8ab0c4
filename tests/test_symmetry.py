"""Counterparts on the other side of the body."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from atlassegfm import symmetry
from atlassegfm.atlas import Atlas
from atlassegfm.errors import RegistrationError
from atlassegfm.fusion.base import Fusion
from atlassegfm.overlap import dice
from atlassegfm.phantom import make_pair
from atlassegfm.pipeline import segment
from atlassegfm.registration import registry
from atlassegfm.resampling import warp_labels
from atlassegfm.symmetry import may_be_symmetric, symmetry_of
from atlassegfm.volume import Grid, Volume

SPACING = 2.5
#: Structures of a head: centre of the right one, mm (the left one's x is negative), half axes, brightness.
PAIRS = {(1, 2): ((24, 8, 6), (9, 16, 8), 60.0), (3, 4): ((16, -20, -8), (7, 8, 12), 130.0)}
STEM = (5, (0, -6, -22), (9, 9, 16), 90.0)


def head(seed: int, *, turned: float = 0.0, lopsided: bool = False) -> tuple[Volume, Volume]:
    """An egg with two pairs of structures and a stem in the middle; each side irregular in its own way."""
    rng = np.random.default_rng(seed)
    turn = np.array([[np.cos(turned), -np.sin(turned), 0], [np.sin(turned), np.cos(turned), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * SPACING
    shape = np.array((44, 52, 40))
    affine[:3, 3] = -affine[:3, :3] @ ((shape - 1) / 2)
    grid = Grid(tuple(shape.tolist()), affine)
    # The head is turned in its field of view as that is in the world, so its axes stay those of the world.
    points = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1)) + _bent(rng, grid.shape)
    labels = np.zeros(grid.shape, np.uint8)
    image = 100.0 * _egg(points, (0, 0, 0), (42, 52, 40)) + 60.0 * _egg(points, (0, 44, 4), (14, 10, 10))
    parts = [
        (v, (side * c[0], *c[1:]), r, b)
        for pair, (c, r, b) in PAIRS.items()
        for v, side in zip(pair, (1, -1), strict=True)
    ]
    for value, centre, radii, brightness in [*parts, STEM]:
        if lopsided and value in (2, 4):
            centre = (centre[0] + 30, centre[1] - 25, centre[2] + 30)
        there = _egg(points, centre, radii)
        labels[there], image[there] = value, brightness
    image = ndimage.gaussian_filter(image, 0.6) + rng.normal(0, 2, grid.shape)
    return Volume(image.astype(np.float32), grid), Volume(labels, grid)


def _egg(points: np.ndarray, centre: tuple, radii: tuple) -> np.ndarray:
    return np.square((points - centre) / np.array(radii)).sum(axis=-1) < 1


def _bent(rng: np.random.Generator, shape: tuple) -> np.ndarray:
    """A smooth displacement of some 2 mm."""
    parts = [ndimage.gaussian_filter(rng.normal(size=shape), 5.0) for _ in range(3)]
    return np.stack([2.0 * part / part.std() for part in parts], axis=-1)


def atlas_of(scan: tuple[Volume, Volume]) -> Atlas:
    return Atlas(*scan, {value: f"structure {value}" for value in np.unique(scan[1].data) if value})


@pytest.fixture(autouse=True)
def _nothing_known():
    symmetry._KNOWN.forget()


@pytest.mark.parametrize("turned", [0.0, 0.3])
def test_pairs_are_found_and_the_middle_is_its_own_counterpart(turned):
    """Also where no axis of the array leads from left to right."""
    image, labels = head(0, turned=turned)
    found = symmetry_of(atlas_of((image, labels)), 0, "cpu")
    assert found.partners == {1: 2, 2: 1, 3: 4, 4: 3, 5: 5}
    assert min(found.overlaps.values()) > 0.8
    carried = warp_labels(labels, labels.grid, found.across)
    for value, partner in found.partners.items():
        assert found.overlaps[value] == pytest.approx(dice(labels.data == value, carried.data == partner))
    right, left = (labels.grid.to_world(np.argwhere(labels.data == value).astype(float)) for value in (1, 2))
    assert np.linalg.norm(found.across(right).mean(axis=0) - left.mean(axis=0)) < 3.0


def test_what_lies_on_one_side_only_has_no_counterpart():
    image, labels = head(0)
    labels.data[labels.data == 4] = 0
    found = symmetry_of(atlas_of((image, labels)), 0, "cpu")
    assert found.partners == {1: 2, 2: 1, 5: 5}


@pytest.mark.parametrize(
    "labels",
    [
        head(0, lopsided=True)[1],
        head(0)[1].with_data((head(0)[1].data == 1).astype(np.uint8)),  # one label, on one side
        head(0)[1].with_data((head(0)[1].data == 5).astype(np.uint8)),  # one in the middle, but no pair
    ],
)
def test_nothing_is_registered_where_places_and_sizes_speak_against_it(labels, monkeypatch):
    monkeypatch.setattr(registry, "register", None)
    assert not may_be_symmetric(labels)
    assert symmetry_of(atlas_of((head(0)[0], labels)), 0, "cpu").partners == {}


def test_two_halves_of_one_thing_one_behind_the_other_are_no_pair():
    data = np.zeros((30, 40, 30), np.uint8)
    data[10:20, 5:18, 10:20], data[10:20, 18:32, 10:20] = 1, 2
    assert not may_be_symmetric(Volume(data, Grid(data.shape, np.diag([1.0, 1, 1, 1]))))


def test_an_abdomen_is_not_symmetric():
    pair = make_pair(shape=(48, 40, 32), spacing=(5.0, 5.0, 6.0))
    assert symmetry_of(Atlas(pair.image, pair.labels, pair.names), 0, "cpu").partners == {}


def test_an_atlas_that_does_not_fit_its_mirror_image_has_none(monkeypatch):
    def fails(*given):
        raise RegistrationError("no alignment")

    monkeypatch.setattr(registry, "register", fails)
    assert symmetry_of(atlas_of(head(0)), 0, "cpu").partners == {}


def test_an_atlas_is_asked_once(monkeypatch):
    first = symmetry_of(atlas_of(head(0)), 0, "cpu")
    monkeypatch.setattr(registry, "register", None)
    assert symmetry_of(atlas_of(head(0)), 0, "cpu") is first


def test_in_the_pipeline_the_fusion_sees_both_sides(monkeypatch):
    """The report tells the pairs, and the other side's label and image lie where the query's are."""
    shown, own = [], Fusion.apply

    def apply(self, m_atlas, m_fm, image, spacing, examples=()):
        shown.extend((m_atlas, image, *example) for example in examples[1:])
        return own(self, m_atlas, m_fm, image, spacing, examples)

    monkeypatch.setattr(Fusion, "apply", apply)
    atlas, (query, truth) = atlas_of(head(0)), head(1)
    result = segment(atlas, query, model="builtin-trees")
    partners = {v: told["partner"] for v, told in result.report["symmetry"].items()}
    assert partners == {"1": 2, "2": 1, "3": 4, "4": 3, "5": 5}
    assert "mirror image" in result.report["timings"]
    assert min(dice(result.labels.data == v, truth.data == v) for v in range(1, 6)) > 0.8
    assert len(shown) == 5
    assert min(dice(m_atlas >= 0.5, label >= 0.5) for m_atlas, _, label, _ in shown) > 0.75
    assert min(np.corrcoef(image.ravel(), there.ravel())[0, 1] for _, image, _, there in shown) > 0.7
