"""Voxel values of ordered slices: decoded by pydicom and its plugins, scaled where slices differ."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from itertools import groupby, islice
from typing import IO

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels import iter_pixels
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from atlassegfm.errors import InputError
from atlassegfm.io.dicom.guard import dicom_errors
from atlassegfm.io.dicom.headers import Frame
from atlassegfm.io.dicom.isolated import Decoder
from atlassegfm.io.dicom.source import Source
from atlassegfm.io.files import MAX_DEFLATE_RATIO, MAX_VOXELS

#: A compressed frame may unpack to this many bytes whatever its size; beyond, to `MAX_DEFLATE_RATIO` times its size.
ALWAYS_BYTES = 1 << 26
#: What is decoded in a process of its own, as the codecs are C and C++, and by which of those that pydicom knows: GDCM
#: crashes on damaged JPEG 2000, CharLS (pyjpegls) takes a quarter of a minute over a damaged slice of JPEG-LS.
DECODERS = {
    JPEGBaseline8Bit: "pillow", JPEGExtended12Bit: "gdcm", JPEGLossless: "gdcm", JPEGLosslessSV1: "gdcm",
    JPEGLSLossless: "gdcm", JPEGLSNearLossless: "gdcm", JPEG2000Lossless: "pylibjpeg", JPEG2000: "pylibjpeg",
    HTJ2K: "pylibjpeg", HTJ2KLossless: "pylibjpeg", HTJ2KLosslessRPCL: "pylibjpeg",
}  # fmt: skip
#: Slices that are turned from (row, column) into (i, j, k) together: fewer passes over a large array.
BLOCK = 16
DAMAGED, AGAIN = "its pixels cannot be decoded", "copy or export it again"


def read_pixels(source: Source, frames: Sequence[Frame], where: object) -> tuple[np.ndarray, float, float, str]:
    """Voxels of slices in their given order.

    Parameters
    ----------
    source : Source
        Where the files are.
    frames : sequence of Frame
        Slices of one size, ordered.
    where : object
        Names the series in errors.

    Returns
    -------
    numpy.ndarray, shape (columns, rows, slices)
        As stored if all slices share type and scaling, else scaled float32.
    float, float
        Slope and intercept that are still to be applied.
    str
        SHA-256 over the hashes of the files, in the order of the slices.

    Raises
    ------
    InputError
        If a file is damaged, has changed, or the volume is too large.
    """
    first = frames[0].instance
    shape = (first.columns, first.rows, len(frames))
    if math.prod(shape) > MAX_VOXELS or min(shape) < 1:
        raise InputError(f"{where}: expected 1 to {MAX_VOXELS} voxels, got {' x '.join(map(str, shape))}; crop it")
    scalings = {(frame.slope, frame.inter) for frame in frames}
    uniform = len(scalings) == 1 and len({frame.instance.pixel_type for frame in frames}) == 1
    digest = hashlib.sha256()
    decoded = _decoded(source, frames, digest)
    out: np.ndarray | None = None
    for low in range(0, len(frames), BLOCK):
        block = np.stack(list(islice(decoded, BLOCK)))
        if not uniform:
            scaling = np.array([(f.slope, f.inter) for f in frames[low : low + BLOCK]])[:, :, None, None]
            block = block * scaling[:, 0] + scaling[:, 1]
        if out is None:
            out = np.empty(shape, block.dtype if uniform else np.float32)
        out[..., low : low + len(block)] = block.transpose(2, 1, 0)
    slope, inter = scalings.pop() if uniform else (1.0, 0.0)
    return out, slope, inter, digest.hexdigest()


def _decoded(source: Source, frames: Sequence[Frame], digest: hashlib._Hash) -> Iterator[np.ndarray]:
    """Stored values of each slice, (rows, columns); each run of slices in one file is read at once."""
    with Decoder() as decoder:
        for name, run in groupby(frames, key=lambda frame: frame.instance.file):
            wanted = list(run)
            where = source.shown(name)
            with source.open(name) as stream, dicom_errors(where, DAMAGED, AGAIN, tell=True):
                digest.update(hashlib.file_digest(stream, "sha256").digest())
                stream.seek(0)
                for data in _frames_in(stream, wanted, decoder, where):
                    size = (wanted[0].instance.rows, wanted[0].instance.columns)
                    if data.shape != size:
                        raise ValueError(f"slice of {data.shape} in place of {size}")
                    yield data


def _frames_in(stream: IO[bytes], wanted: list[Frame], decoder: Decoder, where: object) -> Iterator[np.ndarray]:
    """Stored values of the wanted frames of one file; compressed ones come from the decoder's process."""
    dataset = pydicom.dcmread(stream, force=True)
    _check(dataset, wanted[0], where)
    indices = [frame.number - 1 for frame in wanted] if wanted[0].instance.multiframe else None
    plugin = DECODERS.get(dataset.file_meta.TransferSyntaxUID)
    if plugin is None:
        pixels = iter_pixels(dataset, raw=True, indices=indices)
    else:
        stream.seek(0)
        pixels = decoder.frames(stream.read(), indices, len(wanted), plugin)
    for _ in wanted:
        yield next(pixels)


def _check(dataset: Dataset, frame: Frame, where: object) -> None:
    """Refuse what would be read wrong or would take memory beyond what the file can hold."""
    if str(dataset.SOPInstanceUID) != frame.instance.sop_uid:
        raise InputError(f"{where}: changed while it was read; start again")
    if dataset.get("ModalityLUTSequence"):
        raise InputError(f"{where}: its values go through a lookup table, not slope and intercept; convert the series")
    if "TransferSyntaxUID" not in dataset.file_meta:
        # Old exports leave it out; what pydicom found while parsing is what it was.
        implicit, little = dataset.original_encoding
        syntax = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2.1"
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax if little else "1.2.840.10008.1.2.2")
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        needed = int(dataset.Rows) * int(dataset.Columns) * int(dataset.BitsAllocated) // 8
        if needed > max(ALWAYS_BYTES, len(dataset.get("PixelData", b"")) * MAX_DEFLATE_RATIO):
            raise InputError(f"{where}: claims {needed} bytes per slice, more than its data can hold; {AGAIN}")
