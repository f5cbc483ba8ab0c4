"""What one registered atlas tells beyond its registration: where each label is, and what the other side looks like."""

from __future__ import annotations

from dataclasses import replace

from atlassegfm.fusion import LOOKING
from atlassegfm.registration.options import OwnOptions
from atlassegfm.registration.registry import METHODS
from atlassegfm.run import Run
from atlassegfm.seating import seated
from atlassegfm.symmetry import symmetry_of


def look_closer(run: Run) -> None:
    """Both, after our own deformable registration; the prior and the facts of the run are changed in place.

    Labels are looked for one by one unless the registration was told not to; the other side is of use to fusions that
    look at what the carried atlas shows.
    """
    if METHODS[run.options["registration"]].options is not OwnOptions:
        return
    if OwnOptions(**run.options["registration_options"]).seats:
        _take_seats(run)
    if run.options["fusion"] in LOOKING:
        _look_across(run)


def _take_seats(run: Run) -> None:
    """Labels looked for one by one, so that the model is prompted where they are."""
    run.prior = seated(
        run.prior, run.query, run.options["device"], lambda done: run.progress("looking for each label", done)
    )
    run.facts |= run.prior.facts
    run.warnings += run.prior.warnings
    run.lap("seats")


def _look_across(run: Run) -> None:
    """Labels that have a counterpart on the other side of the body, so that the fusion can look at both."""
    atlas, seed, device = run.prior.teacher.atlas, run.options["seed"], run.options["device"]
    found = symmetry_of(
        atlas, seed, device, lambda step, done: run.progress(f"atlas and its mirror image: {step}", done)
    )
    if found.partners:
        run.prior = replace(run.prior, symmetry=found)
        run.facts["symmetry"] = {
            str(v): {"partner": found.partners[v], "dice": round(found.overlaps[v], 4)} for v in found.partners
        }
    run.lap("mirror image")
