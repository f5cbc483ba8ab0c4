"""Trilinear samples against SciPy's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import ndimage

from atlassegfm import sampling
from atlassegfm.sampling import trilinear


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def image(rng) -> np.ndarray:
    return rng.standard_normal((7, 5, 9)).astype(np.float32)


@pytest.fixture
def places(rng) -> np.ndarray:
    """Inside, on centres, on the last planes, and far outside."""
    anywhere = rng.uniform(-4.0, 13.0, (400, 3))
    return np.concatenate([anywhere, np.round(anywhere), [[6.0, 4.0, 8.0], [0.0, 0.0, 0.0], [1e9, -1e9, 2.5]]])


def of_scipy(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    return ndimage.map_coordinates(image, places.T, order=1, mode="nearest", prefilter=False)


def test_the_same_as_scipy(image, places):
    np.testing.assert_allclose(trilinear(image, places), of_scipy(image, places), rtol=0, atol=1e-6)


def test_centres_give_the_voxels_to_the_bit(image):
    centres = np.moveaxis(np.indices(image.shape), 0, -1)
    assert (trilinear(image, centres) == image).all()


def test_channels_are_sampled_alike(image, places):
    both = trilinear(np.stack([image, 2.0 * image], axis=-1), places)
    assert both.shape == (len(places), 2)
    assert (both[:, 0] == trilinear(image, places)).all()
    np.testing.assert_allclose(both[:, 1], 2.0 * both[:, 0], rtol=1e-6)


def test_any_layout_type_and_shape(image, places):
    wanted = trilinear(image, places)
    assert (trilinear(np.asfortranarray(image), places) == wanted).all()
    assert (trilinear(image.astype(np.float64), np.asfortranarray(places)) == wanted).all()
    assert (trilinear(image, places[:6].reshape(2, 3, 3)) == wanted[:6].reshape(2, 3)).all()
    assert trilinear(image, places[0]).shape == ()
    assert trilinear(image, places[:0]).shape == (0,)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_place_that_is_no_number_gives_none(image, axis):
    place = np.full((2, 3), 1.5)
    place[0, axis] = np.nan
    found = trilinear(image, place)
    assert np.isnan(found[0])
    assert np.isfinite(found[1])
    place[0, axis] = np.inf
    assert np.isfinite(trilinear(image, place)).all()


def test_beyond_half_a_voxel_lies_outside(image):
    edge = np.array([[-0.5, 2.0, 3.0], [-0.501, 2.0, 3.0], [6.5, 2.0, 3.0], [6.501, 2.0, 3.0], [np.nan, 2.0, 3.0]])
    found = trilinear(image, edge, outside=-7.0)
    assert found[:4].tolist() == [image[0, 2, 3], -7.0, image[6, 2, 3], -7.0]
    assert np.isnan(found[4])


def test_places_almost_on_a_centre_are_on_it(image):
    near = np.array([[3.0 + 9e-7, 2.0 - 9e-7, 4.0]])
    assert trilinear(image, near, snap=1e-6) == image[3, 2, 4]
    assert trilinear(image, near) != image[3, 2, 4]


def test_the_nearest_voxel_as_scipy_takes_it(image, places):
    wanted = ndimage.map_coordinates(image, places.T, order=0, mode="nearest", prefilter=False)
    assert (trilinear(image, places, nearest=True) == wanted).all()
    half = np.array([[2.5, 1.5, 0.5], [6.5, 4.5, 8.5]])
    assert trilinear(image, half, nearest=True, outside=-7.0).tolist() == [image[3, 2, 1], image[6, 4, 8]]


def test_one_voxel_thick(rng):
    sheet = rng.standard_normal((4, 1, 3)).astype(np.float32)
    places = rng.uniform(-1.0, 4.0, (50, 3))
    np.testing.assert_allclose(trilinear(sheet, places), of_scipy(sheet, places), rtol=0, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same(image, places, monkeypatch, threads):
    wanted = trilinear(image, places)
    monkeypatch.setattr(sampling, "compute_threads", lambda: threads)
    monkeypatch.setattr(sampling, "_WORTH_A_THREAD", 10)
    assert (trilinear(image, places) == wanted).all()


def test_torch_is_not_imported():
    code = (
        "import sys, numpy as np\n"
        "from atlassegfm.sampling import trilinear\n"
        "trilinear(np.ones((2, 2, 2)), np.ones(3))\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "False"
