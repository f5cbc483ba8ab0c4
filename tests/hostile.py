"""Files that mean harm or have come to it: small valid ones of every format, and what a number makes of them."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk  # noqa: N813
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from atlassegfm.errors import AtlasSegError
from atlassegfm.io import read_image, read_labels
from atlassegfm.volume import Volume
from dicom_files import slanted, write_enhanced, write_series, write_structures

SHAPE = (33, 34, 3)
#: Numbers that header fields do not expect.
ABSURD = (b"-1", b"0", b"65536", b"2147483647", b"99999999999999999999", b"nan", b"1e308", b"")
WORDS = (b"\xff\xff\xff\xff", b"\x00\x00\x00\x80", b"\xff\xff\xff\x7f", b"\x00\x00\x00\x00", b"\x00\x00\xc0\x7f")


def seeds(folder: Path) -> dict[str, bytes]:
    """Valid files by a name that says how they are read."""
    folder.mkdir(parents=True, exist_ok=True)
    stored = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.uint16)
    image = nib.Nifti1Image(stored, slanted())
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b'{"atlassegfm": {"labels": {"1": "x"}}}'))
    for suffix in ("nii", "nii.gz"):
        nib.save(image, folder / f"x.{suffix}")
    for name, packed in (("x.nrrd", True), ("raw.nrrd", False), ("x.mha", True), ("raw.mha", False)):
        sitk.WriteImage(sitk.GetImageFromArray(stored.T), str(folder / name), packed)
    syntaxes = {"plain": None, "rle": RLELossless, "jpegls": JPEGLSLossless, "jpeg2000": JPEG2000Lossless}
    for name, syntax in syntaxes.items():
        (path,) = write_series(folder / name, stored, slanted(), syntax=syntax, slices=[1])
        path.replace(folder / f"{name}.slice")
    lossless(folder / "plain.slice", folder / "jpeg.slice")
    dataset = pydicom.dcmread(folder / "plain.slice")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    pydicom.dcmwrite(folder / "deflated.slice", dataset)
    write_enhanced(folder / "enhanced.scan", stored, slanted(), scaling=[(1.0, 0.0)] * SHAPE[2])
    volume = volume_of(folder, stored)
    contours = [volume.grid.to_world([(3, 3, k), (12, 3, k), (12, 15, k)]) for k in range(SHAPE[2])]
    write_structures(folder / "rs.labels", {"a": contours, "b": contours[:1]})
    write_segmentation(folder / "seg.labels", volume)
    with zipfile.ZipFile(folder / "x.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in (folder / "series").iterdir():
            archive.write(path, path.name)
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def lossless(source: Path, target: Path) -> None:
    """Write a slice as JPEG lossless, which pydicom cannot."""
    import gdcm

    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()


def volume_of(folder: Path, stored: np.ndarray) -> Volume:
    write_series(folder / "series", stored, slanted())
    return read_image(folder / "series")


def write_segmentation(path: Path, volume: Volume) -> None:
    from atlassegfm.io.dicom import META_SERIES, write_dicom_seg

    labels = volume.with_data((volume.data > np.median(volume.data)).astype(np.uint8))
    write_dicom_seg(path, labels, volume.meta[META_SERIES], {1: "a"}, {})


def cut(block: bytearray, rng: np.random.Generator) -> bytes:
    return bytes(block[: rng.integers(0, len(block))])


def flip(block: bytearray, rng: np.random.Generator) -> bytes:
    for at in rng.integers(0, len(block), rng.integers(1, 9)):
        block[at] ^= 1 << int(rng.integers(8))
    return bytes(block)


def flip_header(block: bytearray, rng: np.random.Generator) -> bytes:
    for at in rng.integers(0, min(len(block), 1400), rng.integers(1, 9)):
        block[at] = int(rng.integers(256))
    return bytes(block)


def word(block: bytearray, rng: np.random.Generator) -> bytes:
    at, size = int(rng.integers(0, max(1, min(len(block), 2500) - 4))), int(rng.choice([2, 4]))
    block[at : at + size] = WORDS[rng.integers(len(WORDS))][:size]
    return bytes(block)


def number(block: bytearray, rng: np.random.Generator) -> bytes:
    found = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(block[:4000])))
    if not found:
        return flip_header(block, rng)
    match = found[rng.integers(len(found))]
    block[match.start() : match.end()] = ABSURD[rng.integers(len(ABSURD))]
    return bytes(block)


def piece(block: bytearray, rng: np.random.Generator) -> bytes:
    start, size = int(rng.integers(0, len(block))), int(rng.integers(1, 300))
    kind = rng.integers(4)
    if kind == 0:
        del block[start : start + size]
    elif kind == 1:
        block[start:start] = block[start : start + size]
    elif kind == 2:
        block[start : start + size] = bytes(min(size, len(block) - start))
    else:
        block[start : start + size] = rng.bytes(min(size, len(block) - start))
    return bytes(block)


MUTATIONS: tuple[Callable[[bytearray, np.random.Generator], bytes], ...] = (
    cut, flip, flip_header, flip_header, word, word, number, piece,
)  # fmt: skip


def spoiled(valid: dict[str, bytes], seed: int) -> tuple[str, bytes]:
    """Name and content of the file that a number stands for."""
    rng = np.random.default_rng(seed)
    name = sorted(valid)[rng.integers(len(valid))]
    block = bytearray(valid[name])
    for _ in range(rng.integers(1, 4)):
        if block:
            block = bytearray(MUTATIONS[rng.integers(len(MUTATIONS))](block, rng))
    return name, bytes(block)


def attempt(folder: Path, name: str, block: bytes, valid: dict[str, bytes]) -> str:
    """Read a spoiled file as the program would; returns the error's text, empty when it could be read.

    Anything but one of our errors on one line is raised.
    """
    path = folder / name.replace(".slice", "").replace(".scan", "").replace(".labels", "")
    try:
        if name.endswith(".slice"):
            # A slice among healthy ones, as it happens.
            path.mkdir(parents=True)
            for k, good in enumerate(series_of(valid)):
                (path / f"{k}.dcm").write_bytes(block if k == 1 else good)
            read_image(path)
        else:
            path.write_bytes(block)
            if name.endswith(".labels"):
                read_labels(path, image=healthy(valid))
            else:
                read_image(path)
                if not name.endswith((".scan", ".zip")):
                    read_labels(path)
    except AtlasSegError as error:
        text = str(error)
        if "\n" in text or len(text) > 1200 + 2 * len(str(folder)):
            raise AssertionError(f"not one line: {text[:300]!r}") from error
        return text or "(no text)"
    return ""


def series_of(valid: dict[str, bytes]) -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(valid["x.zip"])) as archive:
        return [archive.read(name) for name in sorted(archive.namelist())]


_HEALTHY: list[Volume] = []


def healthy(valid: dict[str, bytes]) -> Volume:
    """The image that labels are read for; read once."""
    if not _HEALTHY:
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "x.zip").write_bytes(valid["x.zip"])
            _HEALTHY.append(read_image(Path(folder) / "x.zip"))
    return _HEALTHY[0]
