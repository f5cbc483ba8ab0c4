"""What a result shares with the series it belongs to (patient, study), and what tells that we made it."""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version

from pydicom.dataset import Dataset

PROGRAM = "AtlasSegFM"
#: Attributes of the patient and of the study, taken from the query series as they are and from nowhere else.
SHARED = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "PatientIdentityRemoved", "DeidentificationMethod", "StudyInstanceUID", "StudyDate", "StudyTime",
    "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
#: Those that have to be there, empty if nothing is known.
REQUIRED = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
#: ROI Name and Segment Label may have so many characters.
MAX_NAME = 64
#: Our results stand behind the series that a scanner makes.
SERIES_NUMBER = {"dicom-seg": 9001, "rtstruct": 9002}


def fitting(name: str) -> str:
    """A structure's name as DICOM can hold it: without the backslash, which separates values, and not too long.

    The length is counted in bytes: DICOM counts characters, but not every reader does.
    """
    return name.replace("\\", "/").encode()[:MAX_NAME].decode(errors="ignore").strip()


def share_identity(target: Dataset, source: Dataset) -> None:
    """Copy patient and study of the query series into a new object."""
    for key in SHARED:
        if key in source:
            target[key] = source[key]
    for key in REQUIRED:
        if key not in target:
            setattr(target, key, "")


def sign(target: Dataset, now: datetime) -> None:
    """Say which program made an object, and when."""
    target.Manufacturer = target.ManufacturerModelName = PROGRAM
    target.SoftwareVersions = program_version()
    target.InstanceCreationDate = target.SeriesDate = now.strftime("%Y%m%d")
    target.InstanceCreationTime = target.SeriesTime = now.strftime("%H%M%S")


def program_version() -> str:
    """Version of this program."""
    return version("atlassegfm")
