"""RTSTRUCT out: one region of interest per label, contours on the slices of the query series."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from atlassegfm.errors import InputError
from atlassegfm.io.dicom.geometry import LPS_TO_RAS
from atlassegfm.io.dicom.guard import dicom_errors
from atlassegfm.io.dicom.identity import PROGRAM, SERIES_NUMBER, fitting, share_identity, sign
from atlassegfm.io.dicom.outlines import outlines
from atlassegfm.io.dicom.series import DicomSeries
from atlassegfm.io.files import atomic_path
from atlassegfm.label_names import Colour
from atlassegfm.volume import Volume, bounding_box

#: Digits after the point, mm: far below a voxel, and short enough for DICOM's 16 characters.
DIGITS = 4


def write_rtstruct(
    path: Path,
    labels: Volume,
    series: DicomSeries,
    names: Mapping[int, str],
    colours: Mapping[int, Colour],
    masks: Mapping[int, tuple[tuple[slice, ...], np.ndarray]] | None = None,
) -> None:
    """Write a label map as an RTSTRUCT.

    Parameters
    ----------
    path : Path
        Target; written to a temporary name, then renamed.
    labels : Volume
        Label map on the grid of the series, axes (column, row, slice).
    series : DicomSeries
        The series it was made on.
    names, colours : mapping
        Of each label value; those without a voxel become structures without contours.
    masks : mapping of int to (box, bool array), optional
        Labels that are not to be read from the label map, because they overlap others: their voxels in a box of it.

    Raises
    ------
    InputError
        If the series has no frame of reference, its files are gone, or the file cannot be written.
    """
    if not series.frame_of_reference:
        raise InputError(f"{path}: the query series has no frame of reference, which an RTSTRUCT needs; leave it out")
    headers = series.headers()
    with dicom_errors(path, "cannot be made of this series", "leave rtstruct out of --format", tell=True):
        dataset = _empty(headers[0], datetime.now())
        dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = series.frame_of_reference, ""
        references = _references(series, headers)
        dataset.ReferencedFrameOfReferenceSequence = [_frame_of_reference(series, headers[0], references)]
        dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
        dataset.RTROIObservationsSequence = []
        for number, (value, name) in enumerate(sorted(names.items()), start=1):
            contours = _contours(labels, value, references, (masks or {}).get(value))
            _add_structure(dataset, series, number, name, colours.get(value), contours)
        with atomic_path(path) as temporary:
            dataset.save_as(temporary, enforce_file_format=True)


def _empty(header: Dataset, now: datetime) -> FileDataset:
    """A structure set of the query's patient and study, without structures."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, generate_uid()
    # Explicit value representations leave 16 bits for the length of a contour, which a large one exceeds.
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    share_identity(dataset, header)
    sign(dataset, now)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    dataset.Modality, dataset.SeriesInstanceUID = "RTSTRUCT", generate_uid()
    dataset.SeriesNumber, dataset.InstanceNumber = SERIES_NUMBER["rtstruct"], 1
    dataset.SeriesDescription, dataset.OperatorsName = f"{PROGRAM} structures", ""
    dataset.StructureSetLabel, dataset.StructureSetName = PROGRAM, f"{PROGRAM}, not reviewed"
    dataset.StructureSetDate, dataset.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    dataset.ApprovalStatus = "UNAPPROVED"
    return dataset


def _references(series: DicomSeries, headers: list[Dataset]) -> list[Dataset]:
    """One reference per slice, to its file or to its frame in a multi-frame file."""
    classes = {header.SOPInstanceUID: header.SOPClassUID for header in headers}
    references = []
    for frame in series.frames:
        item = Dataset()
        item.ReferencedSOPClassUID = classes[frame.instance.sop_uid]
        item.ReferencedSOPInstanceUID = frame.instance.sop_uid
        if frame.instance.multiframe:
            item.ReferencedFrameNumber = frame.number
        references.append(item)
    return references


def _frame_of_reference(series: DicomSeries, header: Dataset, references: list[Dataset]) -> Dataset:
    images, study, frame = Dataset(), Dataset(), Dataset()
    images.SeriesInstanceUID, images.ContourImageSequence = series.uid, references
    study.ReferencedSOPClassUID = (
        "1.2.840.10008.3.1.2.3.1"  # Detached Study Management, as every planning system has it
    )
    study.ReferencedSOPInstanceUID, study.RTReferencedSeriesSequence = header.StudyInstanceUID, [images]
    frame.FrameOfReferenceUID, frame.RTReferencedStudySequence = series.frame_of_reference, [study]
    return frame


def _add_structure(
    dataset: Dataset, series: DicomSeries, number: int, name: str, colour: Colour | None, contours: list[Dataset]
) -> None:
    roi, drawn, observation = Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName = number, fitting(name)
    roi.ReferencedFrameOfReferenceUID, roi.ROIGenerationAlgorithm = series.frame_of_reference, "AUTOMATIC"
    drawn.ReferencedROINumber = number
    if colour is not None:
        drawn.ROIDisplayColor = list(colour)
    if contours:
        drawn.ContourSequence = contours
    observation.ObservationNumber = observation.ReferencedROINumber = number
    observation.RTROIInterpretedType, observation.ROIInterpreter = "", ""
    dataset.StructureSetROISequence.append(roi)
    dataset.ROIContourSequence.append(drawn)
    dataset.RTROIObservationsSequence.append(observation)


def _contours(
    labels: Volume, value: int, references: list[Dataset], own: tuple[tuple[slice, ...], np.ndarray] | None
) -> list[Dataset]:
    """Contours of one label, slice by slice; of its own mask if it has one."""
    mask = labels.data == value
    if own is not None:
        mask = np.zeros_like(mask)
        mask[own[0]] = own[1]
    box = bounding_box(mask)
    contours: list[Dataset] = []
    for k in range(box[2].start, box[2].stop) if box else ():
        for ring in outlines(mask[..., k]):
            world = labels.grid.to_world(np.column_stack([ring, np.full(len(ring), k)]))
            contour = Dataset()
            contour.ContourImageSequence = [references[k]]
            contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(ring)
            contour.ContourNumber = len(contours) + 1
            contour.ContourData = _decimals(world * np.diag(LPS_TO_RAS)[:3])
            contours.append(contour)
    return contours


def _decimals(points: np.ndarray) -> list[str]:
    # Adding zero turns a negative zero into a zero.
    return [f"{x:.{DIGITS}f}" for x in np.round(points.ravel(), DIGITS) + 0.0]
