"""Whether atlas and query are of one kind, as far as headers and values say so beyond doubt."""

from __future__ import annotations

import numpy as np

from atlassegfm.errors import InputError
from atlassegfm.volume import Volume

#: Air in Hounsfield units lies below this; no other modality reaches there.
AIR_HU = -700.0
#: Part of the voxels that has to be air.
AIR_FRACTION = 0.01


def check_same_kind(atlas: Volume, query: Volume, name: str) -> None:
    """Refuse a query of a modality that the atlas cannot be compared with.

    DICOM headers name the modality. Of other files only this is known: voxels in Hounsfield units show air far below
    zero, and other modalities have no negative values. What lies between the two is let pass.

    Parameters
    ----------
    atlas, query : Volume
        As read.
    name : str
        Of the query, for the error.

    Raises
    ------
    InputError
        If they differ.
    """
    first, second = _kind(atlas), _kind(query)
    if first and second and first != second:
        raise InputError(
            f"{name}: expected a scan of the atlas's kind ({first}), got {second}; give scans of one modality, CT in "
            "Hounsfield units"
        )


def _kind(volume: Volume) -> str:
    """The modality; "no CT" for values that are none, empty when nobody knows."""
    series = volume.meta.get("dicom_series")
    if series is not None:
        modality = series.frames[0].instance.modality
        return modality if modality == "CT" else "no CT"
    low = float(volume.data.min())
    if low >= 0:
        return "no CT"
    air = float(np.mean(volume.data < AIR_HU)) if low < AIR_HU else 0.0
    return "CT" if air >= AIR_FRACTION else ""
