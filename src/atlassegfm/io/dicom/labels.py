"""RTSTRUCT and DICOM segmentations as a label map of the image they were drawn on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from atlassegfm.errors import GeometryError, InputError
from atlassegfm.io.dicom.guard import dicom_errors
from atlassegfm.io.dicom.headers import AGAIN, DAMAGED, read_header
from atlassegfm.io.dicom.regions import Region, painted
from atlassegfm.io.dicom.segments import Segments
from atlassegfm.io.dicom.series import META_SERIES
from atlassegfm.io.dicom.source import Source, opened
from atlassegfm.io.dicom.structures import rasterised, read_structures
from atlassegfm.io.files import starts_like_dicom
from atlassegfm.label_names import pick
from atlassegfm.volume import Grid, Volume

RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
#: Regions, their grid, and what goes into `Volume.meta`.
Read = tuple[list[Region], Grid, dict[str, Any]]
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


@dataclass(frozen=True, eq=False)
class FoundLabels:
    """The file of labels under a path.

    Parameters
    ----------
    name : str
        Within folder or archive.
    dataset : Dataset
        Its header; of an RTSTRUCT all of it.
    drawn_on : str
        SeriesInstanceUID of the images that it belongs to; empty when it does not say.
    """

    name: str
    dataset: Dataset
    drawn_on: str


def find_labels(path: str | Path) -> FoundLabels:
    """The RTSTRUCT or DICOM segmentation under a path.

    Raises
    ------
    InputError
        If there is not one such file, or it is damaged.
    """
    with opened(path) as source:
        name, dataset = _only_one(source, path)
        where = source.shown(name)
    with dicom_errors(where, DAMAGED, AGAIN):
        return FoundLabels(name, dataset, _referenced(dataset))


def read_dicom_labels(
    path: str | Path, image: Volume | None, rois: Sequence[str] | None = None, found: FoundLabels | None = None
) -> Volume:
    """Read an RTSTRUCT or a DICOM segmentation.

    Parameters
    ----------
    path : str or Path
        The file, or a folder or ZIP archive with one such file in it.
    image : Volume or None
        The image it was drawn on, as it was read; an RTSTRUCT needs it.
    rois : sequence of str or None
        Names of the structures to take; all if None.
    found : FoundLabels, optional
        What `find_labels` has given for the path already.

    Returns
    -------
    Volume
        On the image's grid; a segmentation whose voxels are not the image's comes on its own. ``meta`` has
        ``label_names`` and ``label_colours``.

    Raises
    ------
    InputError, GeometryError
        If there is not one such file, it is damaged, belongs to another frame of reference, or has no such structure.
    """
    found = found or find_labels(path)
    name, dataset, drawn_on = found.name, found.dataset, found.drawn_on
    with opened(path) as source:
        where = source.shown(name)
        with source.open(name) as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            stream.seek(0)
            if dataset.SOPClassUID == RTSTRUCT:
                regions, grid, facts = _from_structures(dataset, drawn_on, image, rois, where)
            else:
                regions, grid, facts = _from_segments(Segments(stream, where), drawn_on, image, rois, where)
    if not regions:
        raise GeometryError(f"{where}: none of its structures has a voxel inside the image; give the pair that belongs")
    with dicom_errors(where, DAMAGED, AGAIN):
        kind = "rtstruct" if dataset.SOPClassUID == RTSTRUCT else "seg"
        shown = f"{kind}_{hashlib.sha256(str(dataset.SOPInstanceUID).encode()).hexdigest()[:8]}"
    volume, overlaps = painted(regions, grid, facts["label_names"])
    notices = tuple(f"{shown}: {notice}" for notice in [*facts.pop("told"), *overlaps])
    meta = {"format": "dicom", "notices": notices, **facts, "source": {"file": shown, "sha256": digest}}
    return replace(volume, meta=meta)


def _referenced(dataset: Dataset) -> str:
    for reference in dataset.get("ReferencedFrameOfReferenceSequence") or []:
        for study in reference.get("RTReferencedStudySequence") or []:
            for series in study.get("RTReferencedSeriesSequence") or []:
                return str(series.get("SeriesInstanceUID") or "")
    for series in dataset.get("ReferencedSeriesSequence") or []:
        return str(series.get("SeriesInstanceUID") or "")
    return ""


def _only_one(source: Source, path: str | Path) -> tuple[str, Dataset]:
    """The one file that holds structures, and its header."""
    found = []
    for name in source.names:
        with source.open(name) as stream:
            if not starts_like_dicom(stream):
                continue
            stream.seek(0)
            dataset, _ = read_header(stream, source.shown(name))
        with dicom_errors(source.shown(name), DAMAGED, AGAIN):
            if dataset.get("SOPClassUID") in (RTSTRUCT, *SEGMENTATIONS):
                found.append((name, dataset))
    if len(found) != 1:
        got = f"{len(found)} of them ({', '.join(name for name, _ in found)})" if found else "none"
        raise InputError(f"{path}: expected one RTSTRUCT or DICOM segmentation, got {got}; give the file itself")
    return found[0]


def _from_structures(
    dataset: Dataset, drawn_on: str, image: Volume | None, rois: Sequence[str] | None, where: str
) -> Read:
    if image is None:
        raise InputError(f"{where}: contours need the image that they were drawn on; give it too")
    structures = {structure.value: structure for structure in read_structures(dataset, where)}
    values = pick({value: structure.name for value, structure in structures.items()}, rois, where)
    chosen = [structures[value] for value in values]
    given = {structure.frame_of_reference for structure in chosen}
    regions, told = [], _reference_notices(given, drawn_on, image, where)
    for structure in chosen:
        region, notices = rasterised(structure, image, where)
        told += notices
        if region is not None:
            regions.append(region)
        elif structure.contours:
            told.append(f"{structure.name}: no voxel of it lies inside the image")
    names = {structure.value: structure.name for structure in chosen}
    colours = {structure.value: structure.colour for structure in chosen if structure.colour is not None}
    return regions, image.grid, {"label_names": names, "label_colours": colours, "told": told}


def _from_segments(
    segments: Segments, drawn_on: str, image: Volume | None, rois: Sequence[str] | None, where: str
) -> Read:
    told = _reference_notices({segments.frame_of_reference}, drawn_on, image, where)
    values = pick(segments.names, rois, where)
    regions, grid = segments.regions(values, image)
    names = {value: segments.names[value] for value in values}
    colours = {value: colour for value, colour in segments.colours.items() if value in names}
    told += ["fractional segments cut at one half"] if segments.fractional else []
    empty = [names[value] for value in values if value not in {region.value for region in regions}]
    told += [f"{name}: no voxel of it lies inside the image" for name in empty]
    return regions, grid, {"label_names": names, "label_colours": colours, "told": told}


def _reference_notices(given: set[str], drawn_on: str, image: Volume | None, where: object) -> list[str]:
    """What there is to say about the series that was drawn on.

    Raises
    ------
    GeometryError
        If it lies in another coordinate system than the image and is another series. The same series under two
        frames of reference is the work of an anonymiser.
    """
    series = None if image is None else image.meta.get(META_SERIES)
    if series is None:
        return []
    elsewhere = bool(series.frame_of_reference and given - {"", series.frame_of_reference})
    if drawn_on == series.uid:
        return (
            ["its frame of reference is not the image's, but it was drawn on this series; taken"] if elsewhere else []
        )
    if elsewhere:
        raise GeometryError(
            f"{where}: drawn in another frame of reference than the image's; give the image series it was drawn on"
        )
    return ["drawn on another series of the same frame of reference than this image"] if drawn_on else []
