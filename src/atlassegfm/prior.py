"""Where the pipeline begins: the labels of one atlas, or of several that voted, on the query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from atlassegfm.atlas import Atlas
from atlassegfm.atlases.carry import Carried, Register, VoteSettings, carry
from atlassegfm.atlases.matching import match_labels
from atlassegfm.atlases.ranking import Likeness
from atlassegfm.label_names import Colour
from atlassegfm.registration.result import Progress, RegistrationResult
from atlassegfm.resampling import label_membership, resample_image, warp_labels
from atlassegfm.symmetry import Symmetry
from atlassegfm.volume import Volume

if TYPE_CHECKING:
    from atlassegfm.fusion.base import Shown


@dataclass(frozen=True, eq=False)
class Reference:
    """A registered atlas that results are compared with.

    Parameters
    ----------
    atlas : Atlas
        The labelled scan.
    forward : RegistrationResult
        Query points to its points.
    moved : Volume
        Its image on the query's grid.
    roundtrips : dict of int to float
        Dice of labels there and back, where they went ways of their own.
    """

    atlas: Atlas
    forward: RegistrationResult
    moved: Volume
    roundtrips: dict[int, float] = field(default_factory=dict)

    @classmethod
    def of(cls, atlas: Atlas, forward: RegistrationResult, query: Volume) -> Reference:
        """With the image warped."""
        return cls(atlas, forward, resample_image(atlas.image, query.grid, forward.transform))


@dataclass(frozen=True, eq=False)
class Prior:
    """M_atlas, and what it was made of.

    Parameters
    ----------
    labels : Volume
        Label map on the query's grid.
    lesson : Volume
        The label map that, carried back to the teacher, is as wrong there as `labels` is on the query.
    teacher : Reference
        The atlas that model and fusion learn from.
    stand_ins : dict of int to Reference
        For labels that the teacher lacks, another atlas that has them; for those that were looked for on their own
        (`seating`), the same atlas under their own map.
    names, colours : dict
        Of all labels, ascending.
    volumes_ml : dict of int to float
        Per label its volume in the atlases, on average.
    facts : dict
        JSON-ready, for the report.
    warnings, notices : list of str
        What the user should know of the registrations, and of the atlases themselves.
    registered : Volume or None
        What the registration alone says, where `labels` has been changed since.
    voted : bool
        Whether several atlases made it, so that no single image shows what `labels` say.
    symmetry : Symmetry
        Which labels of the teacher have a counterpart on the other side of the body.
    """

    labels: Volume
    lesson: Volume
    teacher: Reference
    stand_ins: dict[int, Reference]
    names: dict[int, str]
    colours: dict[int, Colour]
    volumes_ml: dict[int, float]
    facts: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    registered: Volume | None = None
    voted: bool = False
    symmetry: Symmetry = field(default_factory=Symmetry)

    def reference(self, value: int) -> Reference:
        """The atlas to compare a label with."""
        return self.stand_ins.get(value, self.teacher)

    def shown(self, value: int, box: tuple[slice, slice, slice]) -> list[Shown]:
        """Examples of a label in a box of the query's, each its mask and the image it was drawn on, as carried over.

        The atlas's own, and that of the other side of the body if there is one; none if several atlases voted.
        """
        if self.voted:
            return []
        reference = self.reference(value)
        examples = [((self.labels.data[box] == value).astype(np.float32), reference.moved.data[box])]
        partner = self.symmetry.partners.get(value)
        if partner is not None:
            grid, across = self.labels.grid.cropped(box), reference.forward.transform.then(self.symmetry.across)
            there = label_membership(reference.atlas.labels, partner, grid, across, method="gaussian")
            examples.append((there, resample_image(reference.atlas.image, grid, across).data))
        return examples


def prior_of_one(atlas: Atlas, forward: RegistrationResult, query: Volume) -> Prior:
    """The prior of a single atlas that is registered."""
    labels = warp_labels(atlas.labels, query.grid, forward.transform)
    teacher = Reference.of(atlas, forward, query)
    volumes = _volumes_ml([atlas])
    return Prior(labels, labels, teacher, {}, atlas.names, atlas.colours, volumes, notices=list(atlas.notices))


def prior_of_several(
    atlases: Sequence[Atlas],
    query: Volume,
    register: Register,
    likeness: Likeness,
    settings: VoteSettings,
    progress: Progress,
) -> Prior:
    """The prior that several atlases voted; parameters as for `atlases.carry.carry`.

    Raises
    ------
    InputError
        If the atlases call a label by different names.
    RegistrationError
        If none of them could be aligned with the query.
    """
    titles = [f"atlas {n + 1}" for n in range(len(atlases))]
    match_labels(atlases, titles)
    found = carry(atlases, query, register, likeness, settings, progress)
    used = [candidate.atlas for candidate in found.used]
    table = match_labels(used, [f"atlas {candidate.number}" for candidate in found.used])
    support = found.support
    lacking = [value for value in table.names if value not in support.atlas.values]
    notices = [f"atlas {n + 1}: {notice}" for n, atlas in enumerate(atlases) for notice in atlas.notices]
    return Prior(
        found.prior,
        found.lesson,
        Reference(support.atlas, support.forward, found.moved),
        {value: _stand_in(value, found, query) for value in lacking},
        table.names,
        table.colours,
        _volumes_ml(used),
        found.facts,
        found.warnings + _lost(atlases, table.names) + _untaught(lacking, table.names, support.number),
        notices,
        voted=len(used) > 1,
    )


def _stand_in(value: int, found: Carried, query: Volume) -> Reference:
    candidate = next(c for c in found.used if value in c.atlas.values)
    return Reference.of(candidate.atlas, candidate.forward, query)


def _lost(atlases: Sequence[Atlas], names: Mapping[int, str]) -> list[str]:
    """Labels that no atlas has which was used."""
    lost = sorted(set().union(*(atlas.values for atlas in atlases)) - set(names))
    return [f"label {value} is left out: none of the atlases used has it" for value in lost]


def _untaught(lacking: Sequence[int], names: Mapping[int, str], number: int) -> list[str]:
    if not lacking:
        return []
    listed = ", ".join(names[value] for value in lacking)
    return [f"{listed}: carried over from the atlases alone, because atlas {number}, which taught the model, lacks it"]


def _volumes_ml(atlases: Sequence[Atlas]) -> dict[int, float]:
    """Mean volume of each label among the atlases that have it, in millilitres."""
    found: dict[int, list[float]] = {}
    for atlas in atlases:
        counts = np.bincount(atlas.labels.data.ravel(), minlength=max(atlas.values) + 1)
        for value in atlas.values:
            found.setdefault(value, []).append(float(counts[value]) * atlas.labels.grid.voxel_volume_ml)
    return {value: float(np.mean(volumes)) for value, volumes in sorted(found.items())}
