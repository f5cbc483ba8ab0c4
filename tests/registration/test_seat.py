"""An organ that slid is found where it is; one that the registration has right stays there."""

import numpy as np
import pytest
import torch

from atlassegfm.overlap import dice
from atlassegfm.registration import seat as seat_room
from atlassegfm.registration.seat import SeatSearch
from atlassegfm.registration.transform import Affine, Transform
from atlassegfm.resampling import warp_labels
from atlassegfm.volume import Grid, Volume
from sliding import GRID, SLID, label, organ, scan

CPU = torch.device("cpu")
STILL = Transform((Affine(np.eye(4)),))


def search(fixed, moving=None, forward=STILL):
    return SeatSearch(fixed, scan() if moving is None else moving, forward, CPU)


@pytest.fixture(scope="module")
def seat():
    return search(scan(SLID, seed=8)).find(label(), label())


def test_an_organ_that_slid_is_found(seat):
    found = warp_labels(label(), GRID, seat.transform).data
    assert dice(label().data, organ(SLID)) < 0.35
    assert dice(found, organ(SLID)) > 0.9
    assert seat.moved_mm == pytest.approx(np.linalg.norm(SLID), abs=2.0)


def test_what_is_said_of_a_seat(seat):
    assert 0.0 < seat.after < 0.7 * seat.before
    assert seat.roundtrip > 0.8
    assert seat.apart.data.mean() < 2.0
    # It holds for the organ and its surroundings, and for no more than these.
    at = seat.grid.to_voxel(GRID.to_world(np.argwhere(organ(SLID))))
    assert at.min() >= 0
    assert (at <= np.array(seat.grid.shape) - 1).all()
    assert seat.grid.size < 0.5 * GRID.size


def test_what_the_registration_has_right_stays():
    for seed in (7, 8):  # the very same image, and another one of the same body
        assert search(scan(seed=seed)).find(label(), label()) is None


def test_starts_lie_around_where_the_registration_put_the_label():
    shift = np.array([300.0, -200.0, 100.0])
    affine, away = GRID.affine.copy(), np.eye(4)
    affine[:3, 3] += shift
    away[:3, 3] = shift
    moving, own = (Volume(v.data, Grid(GRID.shape, affine)) for v in (scan(), label()))
    found = search(scan(SLID, seed=8), moving, Transform((Affine(away),))).find(own, label())
    assert dice(warp_labels(own, GRID, found.transform).data, organ(SLID)) > 0.9


def test_the_number_of_threads_changes_nothing(seat):
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if threads > 1 else 2)
    try:
        other = search(scan(SLID, seed=8)).find(label(), label())
    finally:
        torch.set_num_threads(threads)
    assert (other.after, other.before) == (seat.after, seat.before)
    np.testing.assert_array_equal(other.transform.stages[0].vectors, seat.transform.stages[0].vectors)


def test_too_thin_an_image_is_left_alone():
    box = (slice(0, GRID.shape[0]), slice(0, GRID.shape[1]), slice(22, 25))
    fixed, moving, own = (Volume(v.data[box].copy(), GRID.cropped(box)) for v in (scan(SLID), scan(), label()))
    assert search(fixed, moving).find(own, own) is None


def test_too_thin_a_label_is_not_looked_for(monkeypatch):
    """A sheet that the coarse voxels hardly show."""

    def never(*given):
        raise AssertionError("looked for")

    monkeypatch.setattr(seat_room, "_first", never)
    sheet = label()
    with pytest.raises(AssertionError, match="looked for"):
        search(scan(SLID, seed=8)).find(sheet, sheet)
    sheet.data[:, :27] = 0
    sheet.data[:, 28:] = 0
    assert search(scan(SLID, seed=8)).find(sheet, sheet) is None
