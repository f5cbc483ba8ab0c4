"""The formats that a segmentation is written in. A table of names; what writes them is imported when it is used."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atlassegfm.errors import InputError

if TYPE_CHECKING:
    from atlassegfm.pipeline import Segmentation
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
    probabilities : bool
        Whether it holds the probabilities behind the labels, which registration alone does not have.
    """

    role: str
    ending: str
    dicom: bool = False
    probabilities: bool = False


FORMATS = {
    "nifti": Format("segmentation", "_seg.nii.gz"),
    "nrrd": Format("slicer", ".seg.nrrd"),
    "dicom-seg": Format("dicom_seg", "_seg.dcm", dicom=True),
    "dicom-seg-fractional": Format("dicom_seg_fractional", "_fractional.dcm", dicom=True, probabilities=True),
    "rtstruct": Format("rtstruct", "_rtstruct.dcm", dicom=True),
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


def needs_dicom(formats: Iterable[str]) -> list[str]:
    """Those that can be written for a DICOM query only."""
    return [name for name in formats if FORMATS[name].dicom]


def needs_probabilities(formats: Iterable[str], model: str) -> bool:
    """Whether one of the formats holds probabilities.

    Raises
    ------
    InputError
        If so, and there is no model that gives some.
    """
    wanted = [name for name in formats if FORMATS[name].probabilities]
    if wanted and model == "none":
        raise InputError(f"--format {', '.join(wanted)} needs a model, and registration alone gives no probabilities")
    return bool(wanted)


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
        Its label map, names and colours.

    Raises
    ------
    InputError
        If it cannot be written, or refers to DICOM and the query is none.
    """
    from atlassegfm.io import write_labels
    from atlassegfm.io.seg_nrrd import write_seg_nrrd

    labels, names, colours = segmentation.labels, segmentation.names, segmentation.colours
    if not FORMATS[name].dicom:
        if name == "nifti":
            write_labels(path, labels, query, names)
        else:
            write_seg_nrrd(path, labels, names, colours)
        return
    from atlassegfm.io.dicom import META_SERIES, write_dicom_seg, write_rtstruct

    if META_SERIES not in query.meta:
        raise InputError(f"{path}: {name} refers to the query's DICOM series, and the query is not DICOM")
    series = query.meta[META_SERIES]
    if name == "rtstruct":
        write_rtstruct(path, labels, series, names, colours)
    else:
        shares = segmentation.probabilities if FORMATS[name].probabilities else None
        write_dicom_seg(path, labels, series, names, colours, probabilities=shares)
