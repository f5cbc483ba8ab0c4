from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from atlassegfm.io.dicom.contours import even_odd, without_doubles


def square(low, high):
    return np.array([[low, low], [high, low], [high, high], [low, high]], float)


def test_a_voxel_belongs_when_its_centre_does():
    mask = even_odd([square(1.5, 4.5)], (7, 6))
    assert mask.sum() == 9
    assert mask[2:5, 2:5].all()


def test_neighbours_that_share_a_border_share_no_voxel():
    left, right = np.array([[0, 0], [3, 0], [3, 5], [0, 5]], float), np.array([[3, 0], [6, 0], [6, 5], [3, 5]], float)
    masks = [even_odd([polygon], (8, 8)) for polygon in (left, right)]
    assert not (masks[0] & masks[1]).any()
    assert (masks[0] | masks[1]).sum() == 30


def test_holes_drawn_apart_and_as_keyholes_are_the_same():
    apart = even_odd([square(0.5, 9.5), square(3.5, 6.5)], (11, 11))
    assert apart.sum() == 81 - 9
    inner = [[3.5, 5], [3.5, 6.5], [6.5, 6.5], [6.5, 3.5], [3.5, 3.5], [3.5, 5]]
    keyhole = np.concatenate([square(0.5, 9.5), [[0.5, 5]], inner, [[0.5, 5]]])
    assert np.array_equal(even_odd([keyhole], (11, 11)), apart)


def test_contours_that_leave_the_image_are_cut_off():
    assert even_odd([square(-3.5, 1.5)], (4, 4)).sum() == 4
    assert even_odd([square(-9, -5)], (4, 4)).sum() == 0
    assert even_odd([square(-9, 99)], (4, 4)).all()


def test_doubles_do_not_cancel_out():
    assert len(without_doubles([square(1, 4), square(1, 4), square(1, 5)])) == 2


@given(st.integers(0, 2**32 - 1))
def test_against_the_crossing_number_of_each_point(seed):
    polygon = np.random.default_rng(seed).uniform(-2, 12, (9, 2))
    mask = even_odd([polygon], (10, 11))
    for u in range(10):
        for v in range(11):
            odd = False
            for (u0, v0), (u1, v1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
                if (v0 <= v) != (v1 <= v) and u0 + (v - v0) / (v1 - v0) * (u1 - u0) <= u:
                    odd = not odd
            assert mask[u, v] == odd
