"""DICOM: image series in, RTSTRUCT and segmentation objects in and out. LPS is turned to RAS in here.

The parsing is pydicom's, segmentation objects are highdicom's. What is decided here is which files belong together, in
which order and on which grid, and whether that can be trusted.
"""

from atlassegfm.io.dicom.labels import FoundLabels, find_labels, read_dicom_labels
from atlassegfm.io.dicom.rtstruct_out import write_rtstruct
from atlassegfm.io.dicom.seg_out import write_dicom_seg
from atlassegfm.io.dicom.series import META_SERIES, DicomSeries, find_series, read_series

__all__ = [
    "META_SERIES",
    "DicomSeries",
    "FoundLabels",
    "find_labels",
    "find_series",
    "read_dicom_labels",
    "read_series",
    "write_dicom_seg",
    "write_rtstruct",
]
