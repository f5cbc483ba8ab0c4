"""All labels that can slide on their own, each looked for around the place that a registration gives it; see `seat`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from atlassegfm.registration.seat import Seat, SeatSearch
from atlassegfm.registration.transform import Transform
from atlassegfm.resampling import warp_labels
from atlassegfm.volume import Grid, Volume, bounding_box

#: A label that shares so much of its surface with one other does not slide past it.
TOUCHING = 0.25
#: A label whose box fills so much of its image is what the registration of the whole image has looked at.
LARGE = 0.1
#: A label that was found farther away than this is looked for once more from there: the first starts lie all around.
AGAIN_MM = 10.0

#: Told the finished fraction.
Tick = Callable[[float], None]
#: From a label on the atlas's grid, the same as carried to the query's, and the map that carried it to its seat.
Search = Callable[[Volume, Volume, "Transform"], "Seat | None"]


def find_seats(
    labels: Volume,
    carried: Volume,
    copies: tuple[Volume, Volume],
    forward: Transform,
    device: torch.device,
    tick: Tick = lambda fraction: None,
) -> dict[int, Seat]:
    """A seat for each label that has a better place than the one that the registration gives it.

    Parameters
    ----------
    labels : Volume
        Label map on the moving image's grid, 0 is background.
    carried : Volume
        The same as the registration carries it to the fixed image's grid.
    copies : (Volume, Volume)
        Fixed and moving working copy of the registration's finest spacing, intensities scaled to [0, 1].
    forward : Transform
        The registration: fixed to moving world points, RAS+ mm.
    device : torch.device
        Where to compute.
    tick : callable
        Told the finished fraction.
    """

    def search(label: Volume, carried: Volume, transform: Transform) -> Seat | None:
        # Where nothing of a label has arrived there is nowhere to begin.
        if not carried.data.any():
            return None
        return SeatSearch(*copies, transform, device).find(label, carried, again=transform is not forward)

    wanted, seats = movable(labels), {}
    for number, value in enumerate(wanted):
        tick(number / len(wanted))
        label = _only(labels, value)
        seat = search(label, _only(carried, value), forward)
        if seat is not None:
            seats[value] = _farther(seat, label, carried.grid, search)
    return seats


def movable(labels: Volume) -> list[int]:
    """Labels that can slide on their own: neither most of the image nor grown together with another.

    Parameters
    ----------
    labels : Volume
        Label map of the atlas, 0 is background.
    """
    shared = _shared_surface(labels.data)
    out = []
    for value in sorted(shared):
        box = bounding_box(labels.data == value)
        filled = np.prod([s.stop - s.start for s in box]) / labels.grid.size
        if filled < LARGE and shared[value] < TOUCHING:
            out.append(value)
    return out


def _shared_surface(labels: np.ndarray) -> dict[int, float]:
    """Per label the largest share of its surface, counted in faces of voxels, that it has in common with one other."""
    box = bounding_box(labels, margin=1)
    if box is None:
        return {}
    labels = labels[box]
    values = np.unique(labels)
    faces = np.zeros((len(values), len(values)), dtype=np.int64)
    for axis in range(3):
        here, there = (np.moveaxis(labels, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        apart = here != there
        first, second = (np.searchsorted(values, side[apart]) for side in (here, there))
        faces += np.bincount(first * len(values) + second, minlength=faces.size).reshape(faces.shape)
    faces += faces.T.copy()
    surface = np.maximum(faces.sum(axis=1), 1)
    faces[:, values == 0] = 0
    return {int(v): float(faces[n].max() / surface[n]) for n, v in enumerate(values) if v != 0}


def _only(labels: Volume, value: int) -> Volume:
    """1 where the label is, 0 elsewhere."""
    return labels.with_data((labels.data == value).astype(np.uint8))


def _farther(seat: Seat, label: Volume, grid: Grid, search: Search) -> Seat:
    """The seat, or where its label had to be moved far, what is found from there, if that is better still."""
    if seat.moved_mm <= AGAIN_MM:
        return seat
    again = search(label, warp_labels(label, grid, seat.transform), seat.transform)
    if again is None:
        return seat
    return replace(again, before=seat.before, shift=seat.shift + again.shift)
