"""The data sets by name."""

from __future__ import annotations

from atlassegfm.errors import InputError
from atlassegfm.evaluation.prepare import chaos, nifti_pairs, nrrd_masks
from atlassegfm.evaluation.prepare.base import Source

SOURCES: dict[str, Source] = {
    entry.name: entry for entry in (*chaos.SOURCES, *nifti_pairs.SOURCES, *nrrd_masks.SOURCES)
}


def source(name: str, channel: int = 0) -> Source:
    """The data set of that name; `channel` chooses an image where cases have several (MSD).

    Raises
    ------
    InputError
        If there is no data set of that name.
    """
    if name not in SOURCES:
        raise InputError(f"no data set {name!r}; expected one of {', '.join(SOURCES)}")
    return nifti_pairs.msd_source(channel) if name == "msd" else SOURCES[name]
