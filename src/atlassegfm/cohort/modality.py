"""Whether atlas and query are of one kind, as far as headers and values say so beyond doubt."""

from __future__ import annotations

from atlassegfm.errors import InputError
from atlassegfm.modality import kind_of
from atlassegfm.volume import Volume


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
    first, second = kind_of(atlas), kind_of(query)
    if first and second and first != second:
        raise InputError(
            f"{name}: expected a scan of the atlas's kind ({first}), got {second}; give scans of one modality, CT in "
            "Hounsfield units"
        )
