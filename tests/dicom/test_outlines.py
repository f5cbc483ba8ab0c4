from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon
from scipy import ndimage
from skimage.draw import polygon2mask

from atlassegfm.io.dicom.contours import even_odd
from atlassegfm.io.dicom.outlines import outlines


def blobs(seed, smooth):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(37, 29)), smooth)
    return field > np.quantile(field, 0.55)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0, 0.7, 2.0]))
def test_the_contours_give_the_mask_back(seed, smooth):
    mask = blobs(seed, smooth)
    rings = outlines(mask)
    assert np.array_equal(even_odd(rings, mask.shape), mask)
    # A reader that fills every contour by itself gets the holes too, and no contour overlaps another.
    together = np.sum([even_odd([ring], mask.shape) for ring in rings], axis=0)
    assert np.array_equal(together, mask)


def test_other_rasterisers_agree_on_holes():
    mask = np.zeros((30, 30), bool)
    mask[3:27, 4:26] = True
    mask[6:12, 7:12] = mask[15:22, 15:20] = mask[7:9, 18:20] = False
    mask[17:19, 16:18] = True  # an island in a hole
    rings = outlines(mask)
    assert len(rings) == 2
    by_scikit = np.logical_or.reduce([polygon2mask(mask.shape, ring) for ring in rings])
    assert np.array_equal(by_scikit, mask)
    points = np.argwhere(np.ones_like(mask))
    by_matplotlib = np.logical_or.reduce([Polygon(ring).contains_points(points) for ring in rings])
    assert np.array_equal(by_matplotlib.reshape(mask.shape), mask)


def test_area_is_kept_and_straight_lines_have_two_points():
    mask = np.zeros((20, 20), bool)
    mask[5:15, 5:15] = True
    (ring,) = outlines(mask)
    assert len(ring) == 8
    u, v = ring.T
    assert abs(u @ np.roll(v, -1) - v @ np.roll(u, -1)) / 2 == 99.5


def test_nothing_and_everything():
    assert outlines(np.zeros((4, 4), bool)) == []
    (ring,) = outlines(np.ones((4, 4), bool))
    assert even_odd([ring], (4, 4)).all()
