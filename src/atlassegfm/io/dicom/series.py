"""A DICOM series as an image: found, chosen, ordered, decoded."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from atlassegfm.io.dicom.geometry import arrange
from atlassegfm.io.dicom.headers import Frame, read_header, scan_frames
from atlassegfm.io.dicom.pixels import read_pixels
from atlassegfm.io.dicom.source import opened
from atlassegfm.io.dicom.stacks import Stack, choose, stacks_of
from atlassegfm.io.stored import StoredImage, make_grid

#: Key of a `DicomSeries` in `Volume.meta`.
META_SERIES = "dicom_series"


@dataclass(frozen=True, eq=False)
class DicomSeries:
    """The slices an image was read from, for what is written back to DICOM.

    Parameters
    ----------
    path : Path
        Folder, archive or file.
    frames : tuple of Frame
        One per slice, in the order of the image's last axis.
    name : str
        Stands for the series in file names and reports: modality and eight digits of a hash of its UID. Neither path
        nor UID goes there, as both may hold a patient's name, number or dates.
    """

    path: Path
    frames: tuple[Frame, ...]
    name: str

    @property
    def uid(self) -> str:
        """SeriesInstanceUID."""
        return self.frames[0].instance.series_uid

    @property
    def frame_of_reference(self) -> str:
        """FrameOfReferenceUID, empty when the series has none."""
        return self.frames[0].instance.frame_of_reference

    def headers(self) -> list[Dataset]:
        """Headers without pixels: one per slice, or the single one of a multi-frame file.

        Raises
        ------
        InputError
            If the files are gone.
        """
        found: dict[str, Dataset] = {}
        with opened(self.path) as source:
            for frame in self.frames:
                name = frame.instance.file
                if name not in found:
                    with source.open(name) as stream:
                        found[name] = read_header(stream, source.shown(name))[0]
        return list(found.values())


def find_series(
    path: str | Path, series: str | None = None, *, option: str = "--series", prefer: str = ""
) -> tuple[DicomSeries, list[Stack]]:
    """Find the series that is meant, without reading its pixels.

    Parameters
    ----------
    path : str or Path
        Folder, ZIP archive, or one multi-frame file.
    series : str or None
        Number in the list that the error shows, or SeriesInstanceUID; None if there is but one.
    option : str
        What the command-line option for it is called, for errors.
    prefer : str
        SeriesInstanceUID that is taken when there is a choice and `series` is None.

    Returns
    -------
    DicomSeries
        Its frames are not in order yet.
    list of Stack
        Everything else that was found.

    Raises
    ------
    InputError
        If nothing can be read, or there is a choice to make.
    """
    with opened(path) as source:
        stacks = stacks_of(scan_frames(source))
    stack = choose(stacks, series, path, option, prefer)
    return as_series(path, stack), [other for other in stacks if other is not stack]


def as_series(path: str | Path, stack: Stack) -> DicomSeries:
    """A stack of slices under its public name."""
    key = hashlib.sha256(f"{stack.uid} {stack.part}".encode()).hexdigest()[:8]
    modality = "".join(c for c in stack.frames[0].instance.modality.lower() if c.isalnum())[:8]
    return DicomSeries(Path(path), stack.frames, f"{modality}_{key}")


def read_series(
    path: str | Path,
    series: str | None = None,
    *,
    option: str = "--series",
    prefer: str = "",
    found: tuple[DicomSeries, list[Stack]] | None = None,
) -> StoredImage:
    """Read a series.

    Parameters
    ----------
    path, series, option, prefer
        As for `find_series`.
    found : tuple, optional
        What `find_series` gave for them, so that headers are not read again.

    Returns
    -------
    StoredImage
        Voxels (column, row, slice). ``meta`` holds the `DicomSeries` under `META_SERIES`, and under ``source`` what a
        report may say about the files.

    Raises
    ------
    InputError, GeometryError
        If it cannot be read, or its slices do not lie on one grid.
    """
    found, others = found or find_series(path, series, option=option, prefer=prefer)
    ordered, affine, notices = arrange(found.frames, path)
    with opened(path) as source:
        data, slope, inter, digest = read_pixels(source, ordered, path)
    found = DicomSeries(Path(path), tuple(ordered), found.name)
    meta = {
        "format": "dicom",
        "notices": tuple(f"{found.name}: {notice}" for notice in [*notices, *_left_out(others)]),
        "label_names": {},
        "source": {"file": found.name, "sha256": digest},
        META_SERIES: found,
    }
    return StoredImage(data, make_grid(path, data.shape, affine), slope, inter, meta)


def _left_out(others: list[Stack]) -> list[str]:
    """One line about images that are not part of a volume; other volumes were left out by choice."""
    flawed = [stack for stack in others if stack.flaw]
    if not flawed:
        return []
    count = sum(len(stack.frames) for stack in flawed)
    return [f"{count} other images left out ({', '.join(sorted({stack.flaw for stack in flawed}))})"]
