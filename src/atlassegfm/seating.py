"""The prior with labels that were looked for one by one, where they were found in a better place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from atlassegfm.prior import Prior, Reference
from atlassegfm.registration.result import RegistrationResult
from atlassegfm.resampling import resample_image, warp_labels_apart
from atlassegfm.volume import Volume, bounding_box

if TYPE_CHECKING:
    from atlassegfm.registration.seat import Seat

#: The user is told of a label that was found farther than this from where the registration had put it.
FAR_MM = 10.0


def seated(prior: Prior, query: Volume, device: str, tick: Callable[[float], None] = lambda fraction: None) -> Prior:
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
        facts={**prior.facts, "seats": {str(v): s.facts for v, s in seats.items()}},
        warnings=[*prior.warnings, *far],
        registered=prior.labels,
    )


def _found(prior: Prior, query: Volume, device: str, tick: Callable[[float], None]) -> dict[int, Seat]:
    """A seat for each label that has a better one."""
    # Imported late: torch.
    import torch

    from atlassegfm.registration.copies import scaled_copy, working_spacing
    from atlassegfm.registration.seats import find_seats

    image, forward = prior.teacher.atlas.image, prior.teacher.forward
    spacing = forward.metrics.get("working_spacing_mm") or working_spacing(query, image)
    copies = scaled_copy(query, spacing), scaled_copy(image, spacing)
    labels = prior.teacher.atlas.labels
    return find_seats(labels, prior.labels, copies, forward.transform, torch.device(device), tick)


def _moved(of: Reference, labels: Volume, seats: Mapping[int, Seat]) -> Volume:
    """The atlas's image on the query's grid, around each seated label as its own map takes it there."""
    out = of.moved.data.copy()
    for value, seat in seats.items():
        mask = labels.data == value
        box = bounding_box(mask, margin=2)
        if box is not None:
            out[box] = resample_image(of.atlas.image, labels.grid.cropped(box), seat.transform).data
    return of.moved.with_data(out)
