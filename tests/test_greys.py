from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlassegfm.quality.greys import LEAST, Greys, greys_of, image_spread
from atlassegfm.volume import Grid, Volume

SPACING = (1.5, 1.5, 3.0)
RADIUS = 20.0


@pytest.fixture
def scene():
    """An organ of 100 with noise, a neighbour of 200 beside it, and 0 around them."""
    grid = Grid((64, 48, 24), np.diag([*SPACING, 1.0]))
    offset = (np.indices(grid.shape) - np.reshape((24, 24, 12), (3, 1, 1, 1))) * np.reshape(SPACING, (3, 1, 1, 1))
    organ = (offset**2).sum(axis=0) <= RADIUS**2
    neighbour = ((offset - np.reshape((40.0, 0, 0), (3, 1, 1, 1))) ** 2).sum(axis=0) <= RADIUS**2
    values = 100.0 * organ + 200.0 * (neighbour & ~organ) + np.random.default_rng(3).normal(0, 8, grid.shape)
    return Volume(values.astype(np.float32), grid), organ, neighbour & ~organ


def greys(image, mask):
    return greys_of(image, mask, RADIUS, image_spread(image.data))


def test_a_label_of_one_thing_spreads_little_and_one_that_swallowed_its_neighbour_much(scene):
    image, organ, neighbour = scene
    own = greys(image, organ)
    assert 0 < own.inside < 30 < own.around
    assert greys(image, organ | neighbour).inside == pytest.approx(100, abs=25)
    assert greys(image, organ | neighbour).spread_over(own) > 3


def test_a_label_like_in_the_atlas_has_the_same_spread_whatever_the_scanner_s_unit(scene):
    image, organ, _ = scene
    other = image.with_data((7.0 * image.data - 900.0).astype(np.float32))
    assert greys(other, organ).spread_over(greys(image, organ)) == pytest.approx(1.0, rel=1e-3)


def test_the_border_and_noise_are_left_out(scene):
    image, organ, _ = scene
    raw = np.ptp(np.percentile(image.data[organ], (5, 95)))
    assert greys(image, organ).inside < 0.9 * raw


def test_a_scan_that_shows_less_of_the_body_does_not_make_a_label_look_mixed(scene):
    image, organ, _ = scene
    whole = greys(image, organ)
    # Another image all around: its range grows tenfold, what lies around the label stays.
    larger = replace(whole, image=10 * whole.image)
    assert whole.spread_over(larger) == pytest.approx(1.0)
    assert larger.spread_over(whole) < 1.0


def test_without_noise_the_spread_of_the_atlas_has_a_floor():
    still, other = Greys(0.0, 100.0, 200.0), Greys(4.0, 100.0, 200.0)
    assert other.spread_over(still) == pytest.approx(1.0)
    assert Greys(100 * LEAST * 3, 100.0, 100.0).spread_over(replace(still, image=100.0)) == pytest.approx(3.0)
    assert still.spread_over(still) == 1.0


def test_a_thin_label_is_taken_as_a_whole_and_an_empty_one_not_at_all(scene):
    image, organ, _ = scene
    thin = np.zeros_like(organ)
    thin[10:12, 20:22, 3] = True
    assert greys(image, thin).inside >= 0
    assert greys(image, np.zeros_like(organ)) is None


def test_a_constant_image_says_nothing(scene):
    image, organ, _ = scene
    flat = greys(image.with_data(np.full_like(image.data, 5.0)), organ)
    assert flat.spread_over(flat) == 1.0


@given(*[st.floats(0, 1e4)] * 6)
def test_the_ratio_is_finite_and_not_negative(a, b, c, d, e, f):
    assert 0 <= Greys(a, b, c).spread_over(Greys(d, e, f)) < np.inf
