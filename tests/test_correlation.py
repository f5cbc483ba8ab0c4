"""How alike two images are around each voxel."""

from __future__ import annotations

import numpy as np
import pytest

from atlassegfm.correlation import windowed_correlation

WINDOW = (3, 3, 3)


@pytest.fixture
def images():
    return np.random.default_rng(0).normal(0, 1, (2, 8, 9, 7)).astype(np.float32)


def test_it_is_pearsons_correlation_of_the_window(images):
    found = windowed_correlation(*images, WINDOW)
    pair = [image[2:5, 3:6, 1:4].ravel() for image in images]
    assert found[3, 4, 2] == pytest.approx(np.corrcoef(*pair)[0, 1], abs=1e-6)


def test_gain_and_offset_do_not_matter_but_inverted_contrast_does(images):
    first = images[0]
    np.testing.assert_allclose(windowed_correlation(first, 3 * first - 700, WINDOW), 1.0, atol=1e-4)
    np.testing.assert_allclose(windowed_correlation(first, -first, WINDOW), -1.0, atol=1e-6)


def test_a_constant_image_is_like_nothing(images):
    assert not windowed_correlation(images[0], np.full_like(images[0], 5), WINDOW).any()
