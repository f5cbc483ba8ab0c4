"""The formats that a segmentation is written in. A table of names; what writes them is imported when it is used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atlassegfm.errors import InputError

if TYPE_CHECKING:
    from atlassegfm.segmentation import Segmentation
    from atlassegfm.volume import Volume


@dataclass(frozen=True)
class Format:
    """One way to write a segmentation.

    Parameters
    ----------
    role : str
        Its key among the outputs in JSON.
    ending : str
        What follows the query's name.
    dicom : bool
        Whether it refers to the query's DICOM series, and so needs one.
    probabilities : {"", "used", "needed"}
        Whether it tells of the probabilities behind the labels: "needed" where registration alone, which has none, does
        not do.
    overlapping : str
        What stands in for it where labels may overlap: a key of `FORMATS`; empty where it knows one label per voxel.
    per_label : bool
        Whether it is a file for each label; {label} in the ending is the label's name.
    """

    role: str
    ending: str
    dicom: bool = False
    probabilities: str = ""
    overlapping: str = ""
    per_label: bool = False


FORMATS = {
    "nifti": Format("segmentation", "_seg.nii.gz", overlapping="masks"),
    "masks": Format("mask", "_seg_{label}.nii.gz", overlapping="masks", per_label=True),
    "nrrd": Format("slicer", ".seg.nrrd"),
    "dicom-seg": Format("dicom_seg", "_seg.dcm", dicom=True),
    "dicom-seg-fractional": Format("dicom_seg_fractional", "_fractional.dcm", dicom=True, probabilities="needed"),
    "rtstruct": Format("rtstruct", "_rtstruct.dcm", dicom=True, overlapping="rtstruct"),
    "uncertainty": Format("uncertainty", "_uncertainty.nii.gz", probabilities="used", overlapping="uncertainty"),
}


def read_formats(text: str) -> list[str]:
    """Format names such as ``nifti,rtstruct``, each once.

    Raises
    ------
    InputError
        If one is unknown or there is none.
    """
    names = list(dict.fromkeys(word.strip().lower() for word in text.split(",") if word.strip()))
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        raise InputError(f"--format: expected some of {', '.join(FORMATS)}, got {text!r}")
    return names


def asked_formats(text: str, *, overlapping: bool = False, uncertainty: bool = False) -> list[str]:
    """What is written when the options of these names are given.

    Raises
    ------
    InputError
        If a format is unknown, or labels are to overlap in one that knows one label per voxel.
    """
    names = read_formats(text) + (["uncertainty"] if uncertainty else [])
    if overlapping:
        flat = [name for name in names if not FORMATS[name].overlapping]
        if flat:
            fit = ", ".join(name for name, one in FORMATS.items() if one.overlapping)
            told = ", ".join(flat)
            raise InputError(f"--overlapping: expected formats in which labels may overlap ({fit}), got {told}")
        names = [FORMATS[name].overlapping for name in names]
    return list(dict.fromkeys(names))


def needs_dicom(formats: Iterable[str]) -> list[str]:
    """Those that can be written for a DICOM query only."""
    return [name for name in formats if FORMATS[name].dicom]


def needs_probabilities(formats: Iterable[str], model: str) -> bool:
    """Whether one of the formats tells of probabilities, and there are some.

    Raises
    ------
    InputError
        If so, and there is no model that gives some.
    """
    formats = list(formats)
    wanted = [name for name in formats if FORMATS[name].probabilities == "needed"]
    if wanted and model == "none":
        raise InputError(f"--format {', '.join(wanted)} needs a model, and registration alone gives no probabilities")
    return model != "none" and any(FORMATS[name].probabilities for name in formats)


def write_segmentation(name: str, path: Path, query: Volume, segmentation: Segmentation) -> None:
    """Write a segmentation in one of the formats.

    Parameters
    ----------
    name : str
        A key of `FORMATS`.
    path : Path
        Target.
    query : Volume
        The image as it was read.
    segmentation : Segmentation
        Its label map, names and colours; overlapping masks where it has some.

    Raises
    ------
    InputError
        If it cannot be written, or refers to DICOM and the query is none.
    """
    if FORMATS[name].dicom:
        _write_dicom(name, path, query, segmentation)
        return
    labels, names, colours = segmentation.labels, segmentation.names, segmentation.colours
    if name == "uncertainty":
        from atlassegfm.io import write_image
        from atlassegfm.quality.uncertainty import uncertainty_map

        write_image(path, uncertainty_map(segmentation), query)
    elif name == "nrrd":
        from atlassegfm.io.seg_nrrd import write_seg_nrrd

        write_seg_nrrd(path, labels, names, colours)
    else:
        from atlassegfm.io import write_labels

        write_labels(path, labels, query, names)


def write_mask(path: Path, value: int, query: Volume, segmentation: Segmentation) -> None:
    """Write the voxels of one label as 1; arguments and errors as of `write_segmentation`."""
    from atlassegfm.io import write_labels
    from atlassegfm.report.masks import label_mask

    mask = segmentation.labels.with_data(label_mask(segmentation, value).astype("uint8"))
    write_labels(path, mask, query, {1: segmentation.names[value]})


def _write_dicom(name: str, path: Path, query: Volume, segmentation: Segmentation) -> None:
    """Write one of the formats that refer to the query's series."""
    labels, names, colours = segmentation.labels, segmentation.names, segmentation.colours
    from atlassegfm.io.dicom import META_SERIES, write_dicom_seg, write_rtstruct

    if META_SERIES not in query.meta:
        raise InputError(f"{path}: {name} refers to the query's DICOM series, and the query is not DICOM")
    series = query.meta[META_SERIES]
    if name == "rtstruct":
        write_rtstruct(path, labels, series, names, colours, segmentation.masks)
    else:
        shares = segmentation.probabilities if FORMATS[name].probabilities == "needed" else None
        write_dicom_seg(path, labels, series, names, colours, probabilities=shares)
