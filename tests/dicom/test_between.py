from __future__ import annotations

import numpy as np
import pytest

from atlassegfm.io.dicom.between import on_every_slice


def disc(radius, centre=(20, 20)):
    u, v = np.ogrid[:41, :41]
    return (u - centre[0]) ** 2 + (v - centre[1]) ** 2 < radius**2


def run(planes, count=12, step=2.0):
    return on_every_slice(planes, count, step, (1.0, 1.0))


def test_planes_on_slices_stay_as_they_are():
    out, filled = run({3.0: disc(5), 4.02: disc(7), 5.0: disc(6)})
    assert [int(out[..., k].any()) for k in range(12)] == [0, 0, 0, 1, 1, 1] + [0] * 6
    assert np.array_equal(out[..., 4], disc(7))
    assert (filled.slices, filled.left) == (0, 0)


def test_every_second_slice_is_filled_with_shapes_between():
    out, filled = run({2.0: disc(6), 4.0: disc(10), 6.0: disc(10, (24, 20))})
    assert (filled.slices, filled.left) == (2, 0)
    assert abs(int(out[..., 3].sum()) - int(disc(8).sum())) < 15
    assert np.argwhere(out[..., 5])[:, 0].mean() == pytest.approx(22, abs=0.5)
    assert not out[..., 7].any()


def test_a_gap_among_neighbours_stays_empty():
    out, filled = run({float(k): disc(6) for k in (1, 2, 3, 4, 7, 8, 9)})
    assert (filled.slices, filled.left) == (0, 2)
    assert not out[..., 5:7].any()


def test_far_apart_planes_are_not_joined():
    assert run({1.0: disc(6), 10.0: disc(6)})[1].slices == 0
    assert run({1.0: disc(6), 10.0: disc(6)}, step=1.0)[1].slices == 8


def test_planes_between_slices_are_carried_to_the_slices():
    out, filled = run({k + 0.5: disc(4 + k) for k in range(2, 6)})
    assert (filled.slices, filled.left) == (0, 0)
    assert int(disc(6).sum()) <= int(out[..., 3].sum()) < int(disc(7).sum())
    assert [k for k in range(12) if out[..., k].any()] == [2, 3, 4, 5, 6]
