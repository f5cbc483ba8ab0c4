"""DICOM segmentation out, by highdicom: one segment per label, coded, referring to the slices it was made on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from atlassegfm.errors import InputError
from atlassegfm.io.dicom.anatomy import anatomy_of
from atlassegfm.io.dicom.guard import dicom_errors
from atlassegfm.io.dicom.identity import PROGRAM, REQUIRED, SERIES_NUMBER, fitting, program_version
from atlassegfm.io.dicom.series import DicomSeries
from atlassegfm.io.files import atomic_path
from atlassegfm.label_names import Colour
from atlassegfm.volume import Volume

#: Probabilities of all labels together may take so many bytes.
MAX_FRACTIONAL_BYTES = 1 << 30


def write_dicom_seg(
    path: Path,
    labels: Volume,
    series: DicomSeries,
    names: Mapping[int, str],
    colours: Mapping[int, Colour],
    *,
    probabilities: Mapping[int, tuple[tuple[slice, ...], np.ndarray]] | None = None,
) -> None:
    """Write a label map as a DICOM segmentation object.

    Parameters
    ----------
    path : Path
        Target; written to a temporary name, then renamed.
    labels : Volume
        Label map on the grid of the series, axes (column, row, slice).
    series : DicomSeries
        The series it was made on.
    names, colours : mapping
        Of each label value. Segments are numbered from 1 in the order of the values.
    probabilities : mapping of int to (box, numpy.ndarray), optional
        Foreground probability of each label, in [0, 1], within a box of the grid; a label without has none. With them
        the object is fractional, without them binary.

    Raises
    ------
    InputError
        If the series has no frame of reference, its files are gone, there are more probabilities than memory should
        hold, or the file cannot be written.
    """
    if not series.frame_of_reference:
        raise InputError(f"{path}: the query series has no frame of reference, which a DICOM segmentation needs")
    values = sorted(names)
    headers = [_complete(header) for header in series.headers()]
    with dicom_errors(path, "cannot be made of this series", "leave dicom-seg out of --format", tell=True):
        if probabilities is None:
            numbers = np.zeros(int(max(labels.data.max(), *values)) + 1, np.uint8 if len(values) < 256 else np.uint16)
            numbers[values] = np.arange(1, len(values) + 1)
            frames, kind = numbers[labels.data].transpose(2, 1, 0), "BINARY"
        else:
            frames, kind = _stacked(labels, values, probabilities, path), "FRACTIONAL"
        positions = [hd.PlanePositionSequence("PATIENT", list(map(float, frame.position))) for frame in series.frames]
        segmentation = hd.seg.Segmentation(
            source_images=headers,
            pixel_array=np.ascontiguousarray(frames),
            segmentation_type=kind,
            segment_descriptions=[_segment(n, names[v], colours.get(v)) for n, v in enumerate(values, start=1)],
            series_instance_uid=generate_uid(),
            series_number=SERIES_NUMBER["dicom-seg"],
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=PROGRAM,
            manufacturer_model_name=PROGRAM,
            software_versions=program_version(),
            device_serial_number="none",
            plane_positions=positions,
            content_label="SEGMENTATION",
            content_description=f"{PROGRAM}, not reviewed",
            series_description=f"{PROGRAM} segmentation",
        )
        with atomic_path(path) as temporary:
            segmentation.save_as(temporary)


def _stacked(
    labels: Volume, values: list[int], probabilities: Mapping[int, tuple[tuple[slice, ...], np.ndarray]], path: Path
) -> np.ndarray:
    """Probabilities as highdicom takes them: float32, (slices, rows, columns, segments)."""
    needed = labels.grid.size * len(values) * 4
    if needed > MAX_FRACTIONAL_BYTES:
        raise InputError(
            f"{path}: {len(values)} labels take {needed / 2**30:.1f} GiB as probabilities; choose some with --only or "
            "--rois, or write dicom-seg"
        )
    frames = np.zeros((*labels.grid.shape[::-1], len(values)), np.float32)
    for n, value in enumerate(values):
        if value in probabilities:
            box, share = probabilities[value]
            # The array's axes are (slice, row, column), those of the box (column, row, slice).
            frames[(*box[::-1], n)] = np.clip(share, 0, 1).transpose(2, 1, 0)
    return frames


def _complete(header: Dataset) -> Dataset:
    """A header that has all that highdicom copies; anonymised series lack some of it."""
    for key in REQUIRED:
        if key not in header:
            setattr(header, key, "")
    return header


def _segment(number: int, name: str, colour: Colour | None) -> hd.seg.SegmentDescription:
    anatomy = anatomy_of(name)
    description = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=fitting(name),
        segmented_property_category=anatomy.category,
        segmented_property_type=anatomy.kind,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=PROGRAM, family=codes.DCM.ArtificialIntelligence, version=program_version()
        ),
        tracking_uid=generate_uid(),
        tracking_id=fitting(f"{number} {name}"),
        display_color=None if colour is None else hd.color.CIELabColor.from_rgb(*colour),
    )
    if anatomy.side is not None:
        kind = description.SegmentedPropertyTypeCodeSequence[0]
        kind.SegmentedPropertyTypeModifierCodeSequence = [hd.sr.CodedConcept.from_code(anatomy.side)]
    return description
