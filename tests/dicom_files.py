"""Synthetic DICOM for tests, written with pydicom alone: series, enhanced images, structure sets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    RTStructureSetStorage,
    generate_uid,
)

#: What must not turn up where it was not asked for.
PATIENT = {
    "PatientName": "Quixote^Dulcinea",
    "PatientID": "ZZ-4711-QX",
    "PatientBirthDate": "19470213",
    "PatientSex": "F",
    "AccessionNumber": "ACC998877",
    "StudyDate": "20230517",
    "StudyTime": "134501",
    "StudyID": "STUDY55",
    "ReferringPhysicianName": "Sancho^Panza",
    "InstitutionName": "Hospital La Mancha",
}
CLASSES = {"CT": CTImageStorage, "MR": MRImageStorage, "PT": PositronEmissionTomographyImageStorage}
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def uid(*words: object) -> str:
    """The same identifier for the same words."""
    return generate_uid(entropy_srcs=[" ".join(map(str, words))])


def base(sop_class: str, name: str, series: str, modality: str, study: str = "study") -> FileDataset:
    """Patient, study and series of a new file."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, uid(series, name)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for key, value in PATIENT.items():
        setattr(dataset, key, value)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid(study), uid(series)
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = uid(study, "frame"), ""
    dataset.Modality, dataset.SeriesNumber, dataset.SeriesDescription = modality, 3, "thin"
    dataset.Manufacturer, dataset.SeriesDate, dataset.SeriesTime = "Maker", PATIENT["StudyDate"], PATIENT["StudyTime"]
    return dataset


def pixels(dataset: Dataset, stored: np.ndarray) -> None:
    """Put stored values, (rows, columns) or (frames, rows, columns), into a data set."""
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    bits = stored.dtype.itemsize * 8
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OW" if bits > 8 else "OB"


def decimal(values: Iterable[float]) -> list[str]:
    """Numbers as DICOM decimal strings of at most 16 characters."""
    return [pydicom.valuerep.format_number_as_ds(float(value)) for value in values]


def plane(affine: np.ndarray, k: float = 0) -> dict[str, list[str]]:
    """Position, orientation and spacing of slice `k` for a RAS+ affine whose in-plane axes are at right angles."""
    lps = LPS @ affine
    lengths = np.linalg.norm(lps[:3, :3], axis=0)
    return {
        "ImagePositionPatient": decimal(lps[:3, 3] + k * lps[:3, 2]),
        "ImageOrientationPatient": decimal((lps[:3, :2] / lengths[:2]).T.ravel()),
        "PixelSpacing": decimal([lengths[1], lengths[0]]),
    }


def write_series(
    folder: Path,
    stored: np.ndarray,
    affine: np.ndarray,
    *,
    modality: str = "CT",
    series: str = "series",
    names: Sequence[str] | None = None,
    scaling: Sequence[tuple[float, float]] | None = None,
    slices: Iterable[int] | None = None,
    more: Mapping[str, object] | None = None,
    syntax: str | None = None,
) -> list[Path]:
    """Write slices data[:, :, k] of (i, j, k) stored values whose voxel centres a RAS+ affine gives.

    `names` are the file names by k, `scaling` slope and intercept by k, `more` sets further attributes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for k in range(stored.shape[2]) if slices is None else slices:
        dataset = base(CLASSES[modality], f"slice {k}", series, modality)
        for key, value in plane(affine, k).items():
            setattr(dataset, key, value)
        dataset.ImageType, dataset.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
        dataset.SliceThickness = decimal([np.linalg.norm(affine[:3, 2])])[0]
        slope, inter = (1.0, -1024.0) if scaling is None else scaling[k]
        dataset.RescaleSlope, dataset.RescaleIntercept = decimal([slope, inter])
        dataset.RescaleType = "HU" if modality == "CT" else "US"
        pixels(dataset, np.ascontiguousarray(stored[:, :, k].T))
        for key, value in (more or {}).items():
            setattr(dataset, key, value)
        if syntax is not None:
            dataset.compress(syntax)
        paths.append(folder / (names[k] if names is not None else f"{k:04d}.dcm"))
        dataset.save_as(paths[-1], enforce_file_format=True)
    return paths


def write_enhanced(
    path: Path, stored: np.ndarray, affine: np.ndarray, *, scaling: Sequence[tuple[float, float]]
) -> None:
    """Write an enhanced multi-frame CT, frames in a shuffled order."""
    dataset = base(EnhancedCTImageStorage, "enhanced", "enhanced", "CT")
    order = np.random.default_rng(1).permutation(stored.shape[2])
    pixels(dataset, np.ascontiguousarray(stored.transpose(2, 1, 0)[order]))
    dataset.NumberOfFrames, dataset.ImageType = len(order), ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.InstanceNumber = 1
    facts = plane(affine)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient, measures.PixelSpacing = facts["ImageOrientationPatient"], facts["PixelSpacing"]
    measures.SliceThickness = 1.0
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for k in order:
        group, position, values = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = plane(affine, k)["ImagePositionPatient"]
        values.RescaleSlope, values.RescaleIntercept = decimal(scaling[k])
        values.RescaleType = "HU"
        group.PlanePositionSequence, group.PixelValueTransformationSequence = [position], [values]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.save_as(path, enforce_file_format=True)


def write_structures(
    path: Path,
    structures: Mapping[str, Sequence[np.ndarray]],
    *,
    series: str = "series",
    kinds: Mapping[str, str] | None = None,
    frame: str | None = None,
) -> Path:
    """Write an RTSTRUCT: name to contours, each (n, 3) RAS+ mm."""
    dataset = base(RTStructureSetStorage, path.name, "structures", "RTSTRUCT")
    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    frame = frame or uid("study", "frame")
    reference, study, images = Dataset(), Dataset(), Dataset()
    images.SeriesInstanceUID = uid(series)
    study.RTReferencedSeriesSequence = [images]
    reference.FrameOfReferenceUID, reference.RTReferencedStudySequence = frame, [study]
    dataset.ReferencedFrameOfReferenceSequence = [reference]
    dataset.StructureSetROISequence, dataset.ROIContourSequence = [], []
    for number, (name, contours) in enumerate(structures.items(), start=1):
        roi, drawn = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = number, name, frame
        drawn.ReferencedROINumber, drawn.ROIDisplayColor = number, [10 * number, 200, 30]
        drawn.ContourSequence = []
        for points in contours:
            contour = Dataset()
            contour.ContourGeometricType = (kinds or {}).get(name, "CLOSED_PLANAR")
            contour.NumberOfContourPoints = len(points)
            contour.ContourData = decimal((np.asarray(points) * (-1, -1, 1)).ravel())
            drawn.ContourSequence.append(contour)
        dataset.StructureSetROISequence.append(roi)
        dataset.ROIContourSequence.append(drawn)
    dataset.save_as(path, enforce_file_format=True)
    return path


def noise(shape: tuple[int, int, int] = (9, 7, 5), dtype: str = "i2") -> np.ndarray:
    """Stored values, no two slices alike."""
    return np.random.default_rng(4).integers(0, 2000, shape).astype(dtype)


def slanted(shape_spacing: Sequence[float] = (1.5, 0.75, 2.5), angle: float = 0.3, flip: int = 1) -> np.ndarray:
    """RAS+ affine of an oblique grid, right-handed in LPS for `flip` 1."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    affine = np.eye(4)
    affine[:3, :3] = turn * np.array(shape_spacing) * (1, 1, flip)
    affine[:3, 3] = 12.5, -40.25, 7.125
    return affine
