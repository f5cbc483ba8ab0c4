"""The prior with labels that were looked for one by one, where they were found in a better place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from atlassegfm.prior import Prior, Reference
from atlassegfm.registration.result import RegistrationResult
from atlassegfm.resampling import resample_image, warp_labels, warp_labels_apart
from atlassegfm.volume import Grid, Volume, bounding_box

if TYPE_CHECKING:
    from atlassegfm.registration.seat import Seat
    from atlassegfm.registration.transform import Transform

#: A label that shares so much of its surface with one other does not slide past it.
TOUCHING = 0.25
#: A label whose box fills so much of its image is what the registration of the whole image has looked at.
LARGE = 0.1
#: A label that was found farther away than this is looked for once more from there.
AGAIN_MM = 5.0
#: The user is told of a label that was found farther than this from where the registration had put it.
FAR_MM = 10.0

#: Told the finished fraction.
Tick = Callable[[float], None]
#: From a label on the atlas's grid, the same as carried to the query's, and the map that carried it to its seat.
Search = Callable[[Volume, Volume, "Transform"], "Seat | None"]


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
    values, numbers = np.unique(labels, return_inverse=True)
    numbers = numbers.reshape(labels.shape)
    faces = np.zeros((len(values), len(values)), dtype=np.int64)
    for axis in range(3):
        here, there = (np.moveaxis(numbers, axis, 0)[part].ravel() for part in (slice(None, -1), slice(1, None)))
        pairs = here * len(values) + there
        faces += np.bincount(pairs[here != there], minlength=faces.size).reshape(faces.shape)
    faces += faces.T.copy()
    surface = np.maximum(faces.sum(axis=1), 1)
    faces[:, values == 0] = 0
    return {int(v): float(faces[n].max() / surface[n]) for n, v in enumerate(values) if v != 0}


def seated(prior: Prior, query: Volume, device: str, tick: Tick = lambda fraction: None) -> Prior:
    """The prior of one atlas, each movable label in the best place found for it.

    Parameters
    ----------
    prior : Prior
        Of a registered atlas.
    query : Volume
        The scan to segment.
    device : {"cpu", "cuda"}
        Where to compute.
    tick : callable
        Told the finished fraction.

    Returns
    -------
    Prior
        The same where no label was found in a better place. The lesson stays what the registration says, because it is
        the registration that carries it back.
    """
    seats = _found(prior, query, device, tick)
    if not seats:
        return prior
    of = prior.teacher
    transforms = {value: seats[value].transform if value in seats else of.forward.transform for value in prior.names}
    labels = warp_labels_apart(of.atlas.labels, query.grid, transforms)
    moved = _moved(of, labels, seats)
    # Each is judged by its own map, of which a round trip of the whole images knows nothing.
    references = {
        v: Reference(
            of.atlas, RegistrationResult(s.transform, of.forward.metrics, apart=s.apart), moved, {v: s.roundtrip}
        )
        for v, s in seats.items()
    }
    far = [
        f"{prior.names[v]}: looked for on its own and found {s.moved_mm:.0f} mm from where the registration had put it"
        for v, s in seats.items()
        if s.moved_mm > FAR_MM
    ]
    return replace(
        prior,
        labels=labels,
        teacher=replace(of, moved=moved),
        stand_ins={**prior.stand_ins, **references},
        facts={**prior.facts, "seats": {str(v): _facts(s) for v, s in seats.items()}},
        warnings=[*prior.warnings, *far],
        registered=prior.labels,
    )


def _found(prior: Prior, query: Volume, device: str, tick: Tick) -> dict[int, Seat]:
    """A seat for each label that has a better one."""
    # Imported late: torch.
    import torch

    from atlassegfm.registration.copies import scaled_copy, working_spacing
    from atlassegfm.registration.seat import SeatSearch

    image, labels = prior.teacher.atlas.image, prior.teacher.atlas.labels
    spacing = prior.teacher.forward.metrics.get("working_spacing_mm") or working_spacing(query, image)
    copies = scaled_copy(query, spacing), scaled_copy(image, spacing)

    def search(label: Volume, carried: Volume, transform: Transform) -> Seat | None:
        # Where nothing of a label has arrived there is nowhere to begin.
        return SeatSearch(*copies, transform, torch.device(device)).find(label, carried) if carried.data.any() else None

    wanted, seats = movable(labels), {}
    for number, value in enumerate(wanted):
        tick(number / len(wanted))
        label = _only(labels, value)
        seat = search(label, _only(prior.labels, value), prior.teacher.forward.transform)
        if seat is not None:
            seats[value] = _farther(seat, label, query.grid, search)
    return seats


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


def _moved(of: Reference, labels: Volume, seats: Mapping[int, Seat]) -> Volume:
    """The atlas's image on the query's grid, around each seated label as its own map takes it there."""
    out = of.moved.data.copy()
    for value, seat in seats.items():
        mask = labels.data == value
        box = bounding_box(mask, margin=2)
        if box is not None:
            out[box] = resample_image(of.atlas.image, labels.grid.cropped(box), seat.transform).data
    return of.moved.with_data(out)


def _facts(seat: Seat) -> dict[str, float]:
    """JSON-ready, for the report."""
    unlike = {"unlike_before": round(seat.before, 5), "unlike": round(seat.after, 5)}
    return {"moved_mm": round(seat.moved_mm, 2), **unlike}
