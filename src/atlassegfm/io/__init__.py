"""Files to volumes and back. Only this package knows about file formats and LPS."""

from atlassegfm.io.files import (
    IMAGE_SUFFIXES,
    atomic_path,
    file_sha256,
    image_suffix,
    is_dicom,
    stem,
    write_text_atomic,
)
from atlassegfm.io.images import read_image, read_labels, scan_name, write_image, write_labels

__all__ = [
    "IMAGE_SUFFIXES",
    "atomic_path",
    "file_sha256",
    "image_suffix",
    "is_dicom",
    "read_image",
    "read_labels",
    "scan_name",
    "stem",
    "write_image",
    "write_labels",
    "write_text_atomic",
]
