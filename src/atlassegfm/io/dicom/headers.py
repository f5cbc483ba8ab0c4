"""What is needed of a DICOM image's header: a record per file and one per frame. Positions are LPS mm, as stored."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import UID

from atlassegfm.errors import InputError
from atlassegfm.io.dicom.guard import dicom_errors
from atlassegfm.io.dicom.source import Source
from atlassegfm.io.files import starts_like_dicom

#: Float, double and integer pixel data.
PIXEL_DATA = (0x7FE00008, 0x7FE00009, 0x7FE00010)
#: A header that takes more reads than this is none; those of an enhanced image with 2000 slices are below 400,000.
MAX_READS = 1_500_000
#: A deflated file may inflate to this many bytes.
MAX_INFLATED = 1 << 30
DEFLATED = b"1.2.840.10008.1.2.1.99"
#: Where the length of the file meta group ends.
_AFTER_LENGTH = 144
#: Objects with pixels that are no scans.
NOT_SCANS = {"SEG", "RTDOSE", "RTIMAGE", "PR", "SR", "KO", "REG", "OT"}
#: What tells volumes apart that share their positions, in the order in which it is tried.
KEYS = (
    "EchoTime", "EchoNumbers", "EffectiveEchoTime", "TemporalPositionIdentifier", "TemporalPositionIndex",
    "DiffusionBValue", "AcquisitionNumber", "ImageType", "FrameType", "StackID", "TriggerTime", "InversionTime",
    "ConvolutionKernel", "FlipAngle",
)  # fmt: skip
DAMAGED, AGAIN = "damaged DICOM header", "copy or export it again"


@dataclass(frozen=True, slots=True, eq=False)
class Instance:
    """One DICOM image file.

    Parameters
    ----------
    file : str
        Its name within the source.
    sop_uid, series_uid, frame_of_reference : str
        Unique identifiers; the last may be empty.
    series_number : int or None
        The scanner's number.
    modality, description : str
        Of the series; the description is empty when it may hold a patient's name or number.
    rows, columns, samples : int
        Size of a frame and numbers per voxel.
    pixel_type : tuple
        Bits allocated, signedness, kind of pixel data: equal for slices that can share an array.
    multiframe : bool
        Whether frames are counted.
    """

    file: str
    sop_uid: str
    series_uid: str
    frame_of_reference: str
    series_number: int | None
    modality: str
    description: str
    rows: int
    columns: int
    samples: int
    pixel_type: tuple[int, int, bool]
    multiframe: bool


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One slice.

    Parameters
    ----------
    instance : Instance
        The file that holds it.
    number : int
        From 1, within the file.
    position : numpy.ndarray, shape (3,), or None
        Centre of the first voxel, LPS mm; None when the header does not say.
    axes : numpy.ndarray, shape (2, 3), or None
        Unit vectors along a row (column index grows) and down a column (row index grows), LPS.
    spacing : tuple of float or None
        Distance between rows and between columns, mm (the order of the file).
    slope, inter : float
        True value = stored value * slope + inter.
    localiser : bool
        Whether it calls itself one.
    keys : dict of str to str
        What is found of `KEYS`.
    """

    instance: Instance
    number: int
    position: np.ndarray | None
    axes: np.ndarray | None
    spacing: tuple[float, float] | None
    slope: float
    inter: float
    localiser: bool
    keys: dict[str, str]


class _Bounded:
    """A stream that gives up after so many reads: a header of zeros would keep a parser busy for hours."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.left = MAX_READS
        self.seek, self.tell, self._read = stream.seek, stream.tell, stream.read

    def read(self, size: int = -1) -> bytes:
        """As of a file."""
        self.left -= 1
        if self.left < 0:
            raise ValueError("endless header")
        return self._read(size)


def read_header(stream: IO[bytes], where: object) -> tuple[Dataset, bool]:
    """Read a DICOM file as far as its pixels; tells whether it has any.

    Raises
    ------
    InputError
        If the file is damaged or its header has no end.
    """
    pixels = False

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        nonlocal pixels
        pixels = int(tag) in PIXEL_DATA
        return pixels

    with dicom_errors(where, DAMAGED, AGAIN):
        _check_start(stream, where)
        dataset = read_partial(_Bounded(stream), stop_when=stop, force=True)
        _ = dataset.get("SOPClassUID")
    return dataset, pixels


def _check_start(stream: IO[bytes], where: object) -> None:
    """Refuse a file of zeros, and a deflated one that inflates beyond `MAX_INFLATED`: pydicom inflates all at once."""
    start = stream.read(1024)
    if start[128:134] == b"DICM\0\0":
        raise ValueError("no first element")
    if DEFLATED in start and start[128:132] == b"DICM":
        # The first element of the file meta group says how long the rest of that group is.
        stream.seek(_AFTER_LENGTH + struct.unpack_from("<I", start, _AFTER_LENGTH - 4)[0])
        decoder, total = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not decoder.eof and (chunk := decoder.unconsumed_tail or stream.read(1 << 16)):
            total += len(decoder.decompress(chunk, 1 << 22))
            if total > MAX_INFLATED:
                raise InputError(f"{where}: inflates to more than {MAX_INFLATED} bytes; export it again")
    stream.seek(0)


def scan_frames(source: Source) -> list[Frame]:
    """Every slice of every scan in a source, by file name and frame number; of copies of one file the first counts.

    Raises
    ------
    InputError
        If a file that begins like DICOM cannot be parsed: what was lost with it cannot be known.
    """
    frames: list[Frame] = []
    known: set[str] = set()
    for name in source.names:
        where = source.shown(name)
        with source.open(name) as stream:
            if not starts_like_dicom(stream):
                continue
            stream.seek(0)
            dataset, pixels = read_header(stream, where)
        if not _is_scan(dataset, where, pixels=pixels):
            continue
        with dicom_errors(where, DAMAGED, AGAIN):
            found = list(frames_of(dataset, name))
        if found and found[0].instance.sop_uid not in known:
            known.add(found[0].instance.sop_uid)
            frames += found
    return frames


def _is_scan(dataset: Dataset, where: object, *, pixels: bool) -> bool:
    """Whether a file is part of a scan; one that has lost its end is told apart from one that never had pixels."""
    with dicom_errors(where, DAMAGED, AGAIN):
        sop_class = UID(str(dataset.get("SOPClassUID") or dataset.file_meta.get("MediaStorageSOPClassUID") or ""))
        modality = str(dataset.get("Modality") or "")
    if not sop_class or (not pixels and "Image Storage" in sop_class.name):
        raise InputError(f"{where}: {DAMAGED if not sop_class else 'holds no pixels (truncated or stripped)'}; {AGAIN}")
    return pixels and modality not in NOT_SCANS


def frames_of(dataset: Dataset, name: str) -> Iterator[Frame]:
    """The slices of one file, by its own header or by the functional groups of an enhanced one."""
    instance = _instance(dataset, name)
    if not instance.multiframe:
        yield _frame(instance, 1, [dataset])
        return
    shared = [dataset, *dataset.get("SharedFunctionalGroupsSequence", [])[:1]]
    for number, group in enumerate(dataset.get("PerFrameFunctionalGroupsSequence", []), start=1):
        yield _frame(instance, number, [*shared, group])


def _instance(dataset: Dataset, name: str) -> Instance:
    number = dataset.get("SeriesNumber")
    multiframe = "NumberOfFrames" in dataset and (
        int(dataset.NumberOfFrames or 1) > 1 or "PerFrameFunctionalGroupsSequence" in dataset
    )
    floating = "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset
    return Instance(
        file=name,
        sop_uid=str(dataset.SOPInstanceUID),
        series_uid=str(dataset.SeriesInstanceUID),
        frame_of_reference=str(dataset.get("FrameOfReferenceUID") or ""),
        series_number=None if number in (None, "") else int(number),
        modality=str(dataset.get("Modality") or "scan"),
        description=_harmless(dataset),
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        samples=int(dataset.get("SamplesPerPixel") or 1),
        pixel_type=(int(dataset.get("BitsAllocated") or 0), int(dataset.get("PixelRepresentation") or 0), floating),
        multiframe=multiframe,
    )


def _harmless(dataset: Dataset) -> str:
    """The series' description, unless a part of the patient's name or number is in it."""
    text = " ".join(str(dataset.get("SeriesDescription") or "").split())[:40]
    private = " ".join(str(dataset.get(key) or "") for key in ("PatientName", "PatientID", "PatientBirthDate"))
    words = [word for word in private.replace("^", " ").replace("=", " ").lower().split() if len(word) > 1]
    return "" if any(word in text.lower() for word in words) else text


def _frame(instance: Instance, number: int, groups: list[Dataset]) -> Frame:
    """A slice; what a later group says counts more than what an earlier one does."""
    look = _Lookup(groups)
    types = [str(value).upper() for key in ("ImageType", "FrameType") for value in look(key, ()) or ()]
    spacing = _numbers(look("PixelSpacing"), 2)
    axes = _numbers(look("ImageOrientationPatient"), 6)
    return Frame(
        instance=instance,
        number=number,
        position=_numbers(look("ImagePositionPatient"), 3),
        axes=None if axes is None else axes.reshape(2, 3),
        spacing=None if spacing is None else (float(spacing[0]), float(spacing[1])),
        slope=float(look("RescaleSlope", 1.0)),
        inter=float(look("RescaleIntercept", 0.0)),
        localiser="LOCALIZER" in types,
        keys={key: str(value) for key in KEYS if (value := look(key)) is not None},
    )


class _Lookup:
    """Finds an attribute on the first level of data sets and in their functional groups, the last of them first."""

    def __init__(self, groups: list[Dataset]) -> None:
        flat: list[Dataset] = []
        for n, group in enumerate(groups):
            flat.append(group)
            if n:
                flat += [element.value[0] for element in group if element.VR == "SQ" and element.value]
        self.groups = flat[::-1]

    def __call__(self, key: str, default: object = None) -> Any:  # noqa: ANN401 - DICOM values are of many types
        for group in self.groups:
            value = group.get(key)
            if value is not None and value != "":
                return value
        return default


def _numbers(value: object, count: int) -> np.ndarray | None:
    """So many finite numbers, None when there is nothing."""
    if value is None:
        return None
    numbers = np.array([float(x) for x in value], dtype=np.float64)  # type: ignore[attr-defined]
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(f"expected {count} numbers")
    return numbers
