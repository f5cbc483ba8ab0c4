"""NRRD and MetaImage files, through SimpleITK. ITK's world is LPS; it is turned to RAS here and nowhere else.

SimpleITK interprets the headers. The voxels of ordinary files (one piece, raw or deflated) are read here, because
SimpleITK takes damaged MetaImage data without an error, prints to the terminal, and allocates before it looks.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import SimpleITK as sitk  # noqa: N813

from atlassegfm.errors import InputError
from atlassegfm.io.files import (
    MAX_DEFLATE_RATIO,
    atomic_path,
    check_shape,
    check_size,
    image_suffix,
    inflate_exactly,
    read_errors,
    read_exactly,
)
from atlassegfm.io.seg_nrrd import segments_in
from atlassegfm.io.stored import StoredImage, make_grid
from atlassegfm.quiet import STDERR, STDOUT, silenced
from atlassegfm.volume import Grid

T = TypeVar("T")

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: Key under which label names are kept, as JSON, among the file's own key/value pairs.
NAMES_KEY = "atlassegfm_labels"
#: Headers are text; one that is longer than this is not a header.
MAX_HEADER_BYTES = 1 << 20
#: Millimetres per unit, by the words found in NRRD's "space units".
UNIT_MM = {"mm": 1.0, "m": 1000.0, "cm": 10.0, "um": 0.001, "µm": 0.001, "μm": 0.001, "micron": 0.001, "microns": 0.001}
_KNOWN_SPACES = {"left-posterior-superior", "right-anterior-superior", "left-anterior-superior", "lps", "ras", "las"}
_IO = {".nrrd": "NrrdImageIO", ".nhdr": "NrrdImageIO", ".mha": "MetaImageIO", ".mhd": "MetaImageIO"}
_DTYPES = {
    sitk.sitkInt8: "i1", sitk.sitkUInt8: "u1", sitk.sitkInt16: "i2", sitk.sitkUInt16: "u2", sitk.sitkInt32: "i4",
    sitk.sitkUInt32: "u4", sitk.sitkInt64: "i8", sitk.sitkUInt64: "u8", sitk.sitkFloat32: "f4", sitk.sitkFloat64: "f8",
}  # fmt: skip


@dataclass(frozen=True)
class _Payload:
    """Where the voxels lie: `file` is None for a list of files, `encoding` one of raw, deflate, other."""

    file: Path | None
    offset: int
    encoding: str
    order: str  # byte order, "<" or ">"


def read_itk(path: Path) -> StoredImage:
    """Read a .nrrd, .nhdr, .mha or .mhd file.

    Raises
    ------
    InputError, GeometryError
        If the file is of another kind, truncated, damaged, not one 3D scalar image, or its affine is not invertible.
    """
    nrrd = _IO[image_suffix(path)] == "NrrdImageIO"
    with read_errors(path):
        fields, payload = _nrrd_header(path) if nrrd else _meta_header(path)
        _check_data_files(path, fields, payload)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_IO[image_suffix(path)])
    reader.SetFileName(str(path))
    _run(path, reader.ReadImageInformation)
    shape = tuple(reader.GetSize())
    dtype = _DTYPES.get(reader.GetPixelID())
    if reader.GetNumberOfComponents() != 1 or dtype is None:
        kind = sitk.GetPixelIDValueAsString(reader.GetPixelID())
        raise InputError(f"{path}: expected one number per voxel, got {kind} voxels; save it as a scalar image")
    spatial = check_shape(path, shape)
    factor, notices = _nrrd_facts(fields, path) if nrrd else (1.0, [])
    affine = np.diag([factor, factor, factor, 1.0]) @ _affine(reader)
    grid = make_grid(path, spatial, affine)
    with read_errors(payload.file or path):
        data = _voxels(path, payload, spatial, np.dtype(payload.order + dtype))
    if data is None:
        image = _run(path, reader.Execute)
        data = sitk.GetArrayFromImage(image).reshape(spatial[::-1]).transpose(2, 1, 0)
    # SimpleITK does not take back the keys of a damaged header that are no text.
    keys = [key for key in reader.GetMetaDataKeys() if key.isascii()]
    names, colours = segments_in({key: reader.GetMetaData(key) for key in keys})
    meta = {
        "format": "nrrd" if nrrd else "metaimage",
        "notices": tuple(notices),
        "label_names": _names(reader) or names,
        "label_colours": colours,
    }
    return StoredImage(data, grid, meta=meta)


def _check_data_files(path: Path, fields: Mapping[str, str], payload: _Payload) -> None:
    """Refuse a header whose voxels are missing or lie outside its folder: it could show any file of the machine."""
    if payload.file is None:
        with path.open("rb") as stream:
            lines = stream.read(MAX_HEADER_BYTES).decode("utf-8", "replace").splitlines()
        pattern = fields.get("elementdatafile", fields.get("data file", fields.get("datafile", "")))
        if any(".." in name or "/" in name or "\\" in name for name in (pattern, *lines) if "=" not in name):
            raise InputError(f"{path}: its data files are not all beside it; copy all into one folder")
    elif (
        "\0" in str(payload.file)
        or not payload.file.resolve().is_relative_to(path.parent.resolve())
        or not payload.file.is_file()
    ):
        raise InputError(f"{path}: its data file {payload.file.name!r} is not beside it; copy both into one folder")
    if fields.get("encoding", "").lower() in ("bzip2", "bz2"):
        raise InputError(f"{path}: its voxels are compressed with bzip2, which is not read; save it with gzip or raw")


def _run(path: Path, step: Callable[[], T]) -> T:
    """Call SimpleITK quietly; its multi-line errors become one line."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with silenced(STDOUT, STDERR):
            return step()
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise InputError(f"{path}: SimpleITK cannot read it ({reason}); export it again") from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)


def _affine(reader: sitk.ImageFileReader) -> np.ndarray:
    """RAS voxel-to-world affine of the first three axes, in the file's unit."""
    n = reader.GetDimension()
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(reader.GetDirection(), (n, n))[:3, :3] * np.array(reader.GetSpacing()[:3])
    affine[:3, 3] = reader.GetOrigin()[:3]
    return LPS_TO_RAS @ affine


def _names(reader: sitk.ImageFileReader) -> dict[int, str]:
    if not reader.HasMetaDataKey(NAMES_KEY):
        return {}
    try:
        return {int(value): str(name) for value, name in json.loads(reader.GetMetaData(NAMES_KEY)).items()}
    except (ValueError, AttributeError):
        return {}


def _nrrd_header(path: Path) -> tuple[dict[str, str], _Payload]:
    """Fields of an NRRD header (lower-case names) and where its data lie."""
    with path.open("rb") as stream:
        block = stream.read(MAX_HEADER_BYTES)
    if not block.startswith(b"NRRD000"):
        raise InputError(f"{path}: not an NRRD file (its first bytes are {block[:4]!r}); export it again")
    fields, offset = {}, 0
    for line in block.splitlines(keepends=True):
        offset += len(line)
        text = line.decode("utf-8", "replace").strip()
        if not text:
            break
        if not text.startswith("#") and ": " in text:
            key, value = text.split(": ", 1)
            fields[key.strip().lower()] = value.strip()
    missing = [key for key in ("type", "sizes", "encoding") if key not in fields]
    if missing:
        raise InputError(f"{path}: not a complete NRRD header (no {' and no '.join(missing)}); export it again")
    encoding = {"raw": "raw", "gzip": "deflate", "gz": "deflate"}.get(fields["encoding"].lower(), "other")
    if any(key in fields for key in ("byte skip", "byteskip", "line skip", "lineskip")):
        encoding = "other"
    order = ">" if fields.get("endian", "").lower() == "big" else "<"
    name = fields.get("data file", fields.get("datafile"))
    if name is None:
        return fields, _Payload(path, offset, encoding, order)
    several = name.upper().startswith("LIST") or "%" in name
    return fields, _Payload(None if several else path.parent / name, 0, encoding, order)


def _meta_header(path: Path) -> tuple[dict[str, str], _Payload]:
    """Fields of a MetaImage header and where its data lie."""
    with path.open("rb") as stream:
        block = stream.read(MAX_HEADER_BYTES)
    fields, offset = {}, 0
    for line in block.splitlines(keepends=True):
        offset += len(line)
        key, sign, value = line.decode("utf-8", "replace").partition("=")
        if not sign:
            break
        fields[key.strip().lower()] = value.strip()
        if key.strip().lower() == "elementdatafile":
            break
    wanted = ("NDims", "DimSize", "ElementType", "ElementDataFile")
    missing = [key for key in wanted if key.lower() not in fields]
    if missing:
        raise InputError(f"{path}: not a MetaImage file (no {missing[0]} in its header); export it again")
    # SimpleITK crashes on an absurd number of axes.
    axes = fields["ndims"]
    if axes not in ("1", "2", "3", "4", "5") or len(fields["dimsize"].split()) != int(axes):
        raise InputError(f"{path}: its header claims {axes} axes of {fields['dimsize']} voxels; export it again")
    encoding = "deflate" if fields.get("compresseddata", "").lower() == "true" else "raw"
    # Other spellings and layouts are left to SimpleITK.
    if fields.get("binarydata", "").lower() != "true" or fields.get("headersize", "0") != "0":
        encoding = "other"
    big = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "")).lower() == "true"
    order = ">" if big else "<"
    name = fields["elementdatafile"]
    if name.upper() == "LOCAL":
        return fields, _Payload(path, offset, encoding, order)
    several = name.upper().startswith("LIST") or "%" in name
    return fields, _Payload(None if several else path.parent / name, 0, encoding, order)


def _nrrd_facts(fields: Mapping[str, str], path: Path) -> tuple[float, list[str]]:
    """Millimetres per unit, and what the user should know about orientation and units."""
    notices = []
    if fields.get("space", "").lower() not in _KNOWN_SPACES:
        said = fields.get("space", "nothing")
        notices.append(f"{path.name}: its header says {said} about the world's axes; left-posterior-superior assumed")
    units = {word.strip('"').lower() for word in fields.get("space units", "").split()}
    factors = {UNIT_MM.get(unit) for unit in units}
    if not units:
        return 1.0, notices
    if len(factors) > 1 or None in factors:
        return 1.0, [*notices, f"{path.name}: unit of length {' '.join(sorted(units))} not known; millimetres assumed"]
    factor = factors.pop()
    if factor != 1.0:
        notices.append(f"{path.name}: stored in {units.pop()}; converted to millimetres")
    return factor, notices


def _voxels(path: Path, payload: _Payload, shape: tuple[int, int, int], dtype: np.dtype) -> np.ndarray | None:
    """Voxels in the file's axis order; None where SimpleITK has to read them (text, lists of files, skipped bytes)."""
    needed = math.prod(shape) * dtype.itemsize
    if payload.file is None or payload.encoding == "other":
        # Lists, text and skipped bytes: what all files beside it can hold bounds what SimpleITK may allocate.
        beside = [payload.file] if payload.file is not None else [p for p in path.parent.iterdir() if p.is_file()]
        check_size(path, shape, sum(p.stat().st_size for p in beside) * MAX_DEFLATE_RATIO, needed)
        return None
    available = payload.file.stat().st_size - payload.offset
    check_size(path, shape, available * (1 if payload.encoding == "raw" else MAX_DEFLATE_RATIO), needed)
    with payload.file.open("rb") as stream:
        stream.seek(payload.offset)
        read = read_exactly if payload.encoding == "raw" else inflate_exactly
        block = read(stream, needed, path, "voxel data")
    return np.frombuffer(block, dtype=dtype).reshape(shape, order="F")


def write_itk(
    path: Path,
    data: np.ndarray,
    grid: Grid,
    *,
    names: Mapping[int, str] | None = None,
    fields: Mapping[str, str] | None = None,
) -> None:
    """Write a compressed .nrrd or .mha file; the same input gives the same bytes.

    Parameters
    ----------
    path : Path
        Target; written to a temporary name, then renamed.
    data : numpy.ndarray, 3D
        Voxels in the type they are stored in.
    grid : Grid
        RAS+ mm.
    names : mapping of int to str, optional
        Label names, kept as JSON under `NAMES_KEY`.
    fields : mapping of str to str, optional
        Further key/value pairs for the header.
    """
    suffix = image_suffix(path)
    if suffix not in (".nrrd", ".mha"):
        raise InputError(f"{path}: a header with a separate data file cannot be written; use .nrrd or .mha")
    affine = LPS_TO_RAS @ grid.affine
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection((affine[:3, :3] / grid.spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    if names:
        labels = {str(int(value)): str(name) for value, name in sorted(names.items())}
        image.SetMetaData(NAMES_KEY, json.dumps(labels))
    for key, value in (fields or {}).items():
        image.SetMetaData(key, value)
    writer = sitk.ImageFileWriter()
    writer.SetImageIO(_IO[suffix])
    writer.UseCompressionOn()
    with atomic_path(path) as temporary:
        writer.SetFileName(str(temporary))
        try:
            writer.Execute(image)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise InputError(f"{path}: cannot be written ({reason}); check the folder and free space") from error
