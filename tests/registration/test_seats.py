"""Which labels are looked for one by one, and how often."""

import numpy as np
import pytest

from atlassegfm.registration import seats
from atlassegfm.registration.seat import Seat
from atlassegfm.registration.seats import movable
from atlassegfm.registration.transform import Affine, Transform
from atlassegfm.volume import Volume
from sliding import GRID, label, scan

STILL = Transform((Affine(np.eye(4)),))


def test_labels_grown_together_and_large_ones_do_not_slide():
    data = np.zeros((20, 20, 20), dtype=np.uint8)
    data[2:4, 2:6, 2:6] = 1  # two halves of a block
    data[4:6, 2:6, 2:6] = 2
    data[12:16, 12:16, 12:16] = 3  # alone
    data[12:16, 16, 12:16] = 4  # lies on the third with a third of its surface, which that one hardly feels
    assert movable(Volume(data, GRID.cropped((slice(0, 20),) * 3))) == [3]
    data[:] = 0
    data[0:12, 0:12, 0:12] = 5
    assert movable(Volume(data, GRID.cropped((slice(0, 20),) * 3))) == []


def test_shares_of_a_surface():
    data = np.zeros((6, 6, 6), dtype=np.int16)
    data[1:3, 2:4, 2:4] = 300
    data[3:5, 2:4, 2:4] = 7
    # A cube of 24 faces each, 4 of them in common.
    assert seats._shared_surface(data) == {7: pytest.approx(1 / 6), 300: pytest.approx(1 / 6)}


def test_a_label_that_moved_is_looked_for_again_from_there():
    """What the two searches find adds up; where the second finds nothing the first stands."""

    def seat(x, before, after):
        return Seat(STILL, np.array([x, 0.0, 0.0]), before, after, scan(), 0.9)

    first, second = seat(12.0, 0.3, 0.2), seat(6.0, 0.19, 0.1)
    found = seats._farther(first, label(), GRID, lambda own, carried, transform: second)
    assert (found.moved_mm, found.before, found.after) == (18.0, 0.3, 0.1)
    assert seats._farther(first, label(), GRID, lambda own, carried, transform: None) is first
    near = seat(8.0, 0.3, 0.2)
    assert seats._farther(near, label(), GRID, lambda own, carried, transform: second) is near
