"""Readers of results that share no code with the program: each gives, per label, voxel centres in RAS+ mm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from matplotlib.path import Path as Polygon

#: Label value to points, shape (n, 3).
Points = dict[int, np.ndarray]
TO_RAS = np.array([-1.0, -1.0, 1.0])


def by_nibabel(path: Path) -> Points:
    """NIfTI."""
    image = nib.load(path)
    data = np.asanyarray(image.dataobj)
    return {int(v): nib.affines.apply_affine(image.affine, np.argwhere(data == v)) for v in np.unique(data) if v}


def by_simpleitk(path: Path) -> Points:
    """Anything that ITK reads."""
    image = sitk.ReadImage(str(path))
    data = sitk.GetArrayFromImage(image)
    out = {}
    for value in np.unique(data[data > 0]):
        indices = np.argwhere(data == value)[:, ::-1]
        world = [image.TransformIndexToPhysicalPoint([int(n) for n in index]) for index in indices]
        out[int(value)] = np.array(world) * TO_RAS
    return out


def seg_by_hand(path: Path) -> Points:
    """DICOM segmentation, with pydicom and the formulas of PS3.3 C.7.6.2.1.1."""
    dataset = pydicom.dcmread(path)
    frames = np.atleast_3d(dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns))
    shared = dataset.SharedFunctionalGroupsSequence[0]
    out: dict[int, list[np.ndarray]] = {}
    for frame, group in zip(frames, dataset.PerFrameFunctionalGroupsSequence, strict=True):
        orientation = (group if "PlaneOrientationSequence" in group else shared).PlaneOrientationSequence[0]
        measures = (group if "PixelMeasuresSequence" in group else shared).PixelMeasuresSequence[0]
        along = np.array(orientation.ImageOrientationPatient, float).reshape(2, 3)
        rows, columns = map(float, measures.PixelSpacing)
        origin = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        row, column = np.nonzero(frame)
        points = origin + np.outer(column * columns, along[0]) + np.outer(row * rows, along[1])
        identified = group if "SegmentIdentificationSequence" in group else shared
        number = int(identified.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        out.setdefault(number, []).append(points * TO_RAS)
    return {number: np.concatenate(points) for number, points in out.items()}


def seg_by_highdicom(path: Path) -> Points:
    """DICOM segmentation, with highdicom's volumes."""
    volume = hd.seg.segread(path).get_volume(combine_segments=True)
    data = volume.array
    return {int(v): volume.map_indices_to_reference(np.argwhere(data == v)) * TO_RAS for v in np.unique(data) if v}


def rtstruct_by_matplotlib(path: Path, series: Sequence[Path]) -> Points:
    """RTSTRUCT on the slices it refers to, each contour filled by itself; voxel centres inside."""
    slices = {}
    for file in series:
        dataset = pydicom.dcmread(file)
        slices[dataset.SOPInstanceUID] = dataset
    structures = pydicom.dcmread(path)
    out: Points = {}
    for drawn in structures.ROIContourSequence:
        inside = []
        for contour in drawn.get("ContourSequence", []):
            image = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            inside.append(_inside(np.array(contour.ContourData, float).reshape(-1, 3), image))
        if inside:
            out[int(drawn.ReferencedROINumber)] = np.concatenate(inside) * TO_RAS
    return out


def _inside(points: np.ndarray, image: pydicom.Dataset) -> np.ndarray:
    origin = np.array(image.ImagePositionPatient, float)
    along = np.array(image.ImageOrientationPatient, float).reshape(2, 3)
    rows, columns = map(float, image.PixelSpacing)
    assert np.abs((points - origin) @ np.cross(*along)).max() < 1e-3, "the contour does not lie in its slice"
    polygon = Polygon(np.column_stack([(points - origin) @ along[0] / columns, (points - origin) @ along[1] / rows]))
    centres = np.argwhere(np.ones((image.Columns, image.Rows)))
    found = centres[polygon.contains_points(centres)]
    return origin + np.outer(found[:, 0] * columns, along[0]) + np.outer(found[:, 1] * rows, along[1])
