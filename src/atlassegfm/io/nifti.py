"""NIfTI-1 and NIfTI-2 files.

Which orientation counts: the sform if its code is not 0, else the qform if its code is not 0, else nibabel's base
affine (voxel sizes, the grid centred on the origin, first axis to the left). This is nibabel's rule. When sform and
qform are both set and place some voxel more than `FORM_TOLERANCE_MM` apart, the sform is used and a notice says so.

The bytes of a read header travel in ``Volume.meta`` and go back unchanged into what is written on the same grid, so
that affine, codes, quaternion, pixdim and units are bit-identical. Label names are kept in a header extension with
code 6 (comment) that holds JSON, ``{"atlassegfm": {"labels": {"1": "liver"}}}``; other readers skip it.
"""

from __future__ import annotations

import gzip
import json
import logging
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from atlassegfm.errors import GeometryError, InputError
from atlassegfm.io.files import (
    CHUNK_BYTES,
    MAX_DEFLATE_RATIO,
    atomic_path,
    check_shape,
    check_size,
    is_gzip,
    open_stream,
    read_errors,
    read_exactly,
)
from atlassegfm.io.stored import StoredImage, make_grid
from atlassegfm.volume import Grid

#: A sform and a qform that place every voxel within this distance of each other are taken as the same, mm.
FORM_TOLERANCE_MM = 0.1
#: Millimetres per unit, by the NIfTI code in the low three bits of xyzt_units.
UNIT_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
UNIT_NAMES = {1: "metres", 2: "millimetres", 3: "micrometres"}
COMMENT_CODE = 6
LABEL_INTENT = 1002  # NIFTI_INTENT_LABEL
META_HEADER, META_ORDER = "nifti_header", "nifti_byte_order"

_HEADERS = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_Header = nib.Nifti1Header | nib.Nifti2Header

# nibabel reports what it repairs in a header; without a handler that would land on the user's terminal.
_LOG = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())


def read_nifti(path: Path) -> StoredImage:
    """Read a .nii or .nii.gz file (compression is told by content, not by name).

    Raises
    ------
    InputError, GeometryError
        If the file is not NIfTI, truncated, not one 3D scalar image, or its affine is not invertible.
    """
    with read_errors(path), open_stream(path) as stream:
        raw, order = _read_header(stream, path)
        header = _checked(raw, order, path)
        shape = tuple(int(n) for n in header.get_data_shape())
        spatial = check_shape(path, shape)
        dtype = _stored_dtype(header, path)
        slope, inter = _scaling(header, path)
        offset = _data_offset(header, raw, path)
        count = math.prod(spatial) * dtype.itemsize
        size = path.stat().st_size
        content = size * MAX_DEFLATE_RATIO if is_gzip(path) else size
        check_size(path, shape, content - offset, count)
        affine, notices = _geometry(header, path)
        grid = make_grid(path, spatial, affine)
        extension = read_exactly(stream, offset - len(raw), path, "header extensions")
        buffer = read_exactly(stream, count, path, "voxel data")
        while stream.read(CHUNK_BYTES):  # to the end, where gzip keeps the checksum
            pass
    data = np.frombuffer(buffer, dtype=dtype).reshape(spatial, order="F")
    meta = {
        "format": "nifti",
        "notices": tuple(notices),
        "label_names": _names_in_extension(extension, order),
        META_HEADER: raw,
        META_ORDER: order,
    }
    return StoredImage(data, grid, slope, inter, meta)


def _read_header(stream: IO[bytes], path: Path) -> tuple[bytes, str]:
    """Raw header bytes and byte order ("<" or ">")."""
    start = stream.read(4)
    for order in "<>":
        size = struct.unpack(order + "i", start)[0] if len(start) == 4 else 0
        if size in _HEADERS:
            return start + bytes(read_exactly(stream, size - 4, path, "NIfTI header")), order
    raise InputError(f"{path}: not a NIfTI file (its first bytes are {start!r}); export it as NIfTI, NRRD or MetaImage")


def _checked(raw: bytes, order: str, path: Path) -> _Header:
    """Header with nibabel's repairs applied."""
    header = _HEADERS[len(raw)](raw, order, check=False)
    magic = bytes(header["magic"].tobytes())[:3]
    if magic in (b"ni1", b"ni2"):
        raise InputError(f"{path}: expected header and voxels in one file, got a .hdr/.img pair; convert it to .nii")
    try:
        header.check_fix(logger=_LOG, error_level=40)
    except HeaderDataError as error:
        raise InputError(f"{path}: not a valid NIfTI header ({error}); export it again") from error
    return header


def _stored_dtype(header: _Header, path: Path) -> np.dtype:
    try:
        dtype = header.get_data_dtype()
    except HeaderDataError as error:
        raise InputError(f"{path}: unknown voxel type ({error}); save it as integer or float") from error
    if dtype.kind not in "iuf":
        kind = {"c": "complex", "V": "RGB or packed"}.get(dtype.kind, str(dtype))
        raise InputError(f"{path}: expected one number per voxel, got {kind} voxels; save it as a scalar image")
    return dtype


def _scaling(header: _Header, path: Path) -> tuple[float, float]:
    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError as error:
        raise InputError(f"{path}: scl_slope and scl_inter are not usable ({error}); correct the header") from error
    return (1.0, 0.0) if slope is None else (float(slope), float(inter))


def _data_offset(header: _Header, raw: bytes, path: Path) -> int:
    """Where the voxels start; four bytes after the header at least."""
    offset = float(header["vox_offset"])
    if not math.isfinite(offset) or offset < 0 or (0 < offset < len(raw) + 4):
        raise InputError(f"{path}: vox_offset {offset:g} is not possible in a NIfTI file; export it again")
    return max(int(offset), len(raw) + 4)


def _units(header: _Header, path: Path) -> tuple[float, list[str]]:
    code = int(header["xyzt_units"]) & 7
    name = Path(path).name
    if code not in UNIT_MM:
        return 1.0, [f"{name}: no unit of length in the header; millimetres assumed"]
    notices = [] if code == 2 else [f"{name}: stored in {UNIT_NAMES[code]}; converted to millimetres"]
    return UNIT_MM[code], notices


@np.errstate(invalid="ignore", over="ignore")  # a broken header is refused or noticed further on
def _geometry(header: _Header, path: Path) -> tuple[np.ndarray, list[str]]:
    """RAS+ mm affine by the rule at the top of this file, and what the user should know about it."""
    factor, notices = _units(header, path)
    to_mm = np.diag([factor, factor, factor, 1.0])
    name = Path(path).name
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    try:
        affine = to_mm @ header.get_best_affine()
    except (HeaderDataError, ValueError) as error:
        raise GeometryError(f"{path}: its qform is not usable ({error}); set a valid sform or qform") from error
    if not sform and not qform:
        notices.append(f"{name}: no orientation in the header (sform and qform codes 0); left and right are a guess")
    if sform and qform:
        try:
            apart = _corner_distance(header.get_data_shape()[:3], affine, to_mm @ header.get_qform())
        except (HeaderDataError, ValueError):
            notices.append(f"{name}: the qform is not usable; sform used")
        else:
            if not apart <= FORM_TOLERANCE_MM:
                notices.append(f"{name}: sform and qform place voxels up to {apart:.1f} mm apart; sform used")
    return affine, notices


def _corner_distance(shape: tuple[int, ...], first: np.ndarray, second: np.ndarray) -> float:
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    difference = first - second
    return float(np.linalg.norm(corners @ difference[:3, :3].T + difference[:3, 3], axis=1).max())


def _names_in_extension(block: bytes, order: str) -> dict[int, str]:
    """Label names that `write_nifti` left in the header extension; empty when there are none."""
    position = 4
    while len(block) > 4 and block[0] and position + 8 <= len(block):
        size, code = struct.unpack_from(order + "ii", block, position)
        if size < 16 or position + size > len(block):
            break
        if code == COMMENT_CODE:
            try:
                content = json.loads(bytes(block[position + 8 : position + size]).rstrip(b"\0"))
                return {int(value): str(name) for value, name in content["atlassegfm"]["labels"].items()}
            except (ValueError, KeyError, TypeError, AttributeError):
                pass  # somebody else's comment
        position += size
    return {}


def write_nifti(
    path: Path,
    data: np.ndarray,
    grid: Grid,
    *,
    meta: Mapping[str, Any],
    names: Mapping[int, str] | None = None,
    labels: bool = False,
) -> None:
    """Write a .nii or .nii.gz file; the same input gives the same bytes.

    Parameters
    ----------
    path : Path
        Target; written to a temporary name, then renamed.
    data : numpy.ndarray, 3D
        Voxels in the type they are stored in.
    grid : Grid
        RAS+ mm.
    meta : mapping
        `Volume.meta` of a read file; its header geometry is kept when it describes `grid`.
    names : mapping of int to str, optional
        Label names to keep in the header.
    labels : bool
        Whether `data` is a label map (sets the NIfTI intent).
    """
    header = _kept_header(meta, grid, path) or _new_header(grid)
    extension = _name_extension(names, header.endianness)
    header["dim"] = [3, *grid.shape, 1, 1, 1, 1]
    header.set_data_dtype(data.dtype)
    header["scl_slope"], header["scl_inter"] = 1, 0
    for field in ("cal_min", "cal_max", "intent_p1", "intent_p2", "intent_p3"):
        header[field] = 0
    for field in ("intent_name", "aux_file", "db_name"):  # free text, in which programs keep patients' names
        if field in header:  # NIfTI-2 has no db_name
            header[field] = b""
    header["intent_code"] = LABEL_INTENT if labels else 0
    header["descrip"] = b"AtlasSegFM label map" if labels else b"AtlasSegFM image"
    header["magic"] = header.single_magic
    header["vox_offset"] = len(header.binaryblock) + len(extension)
    stored = data.dtype.newbyteorder(header.endianness)
    with atomic_path(path) as temporary, temporary.open("xb") as raw:
        # No name and no time in the gzip header, so that the bytes depend on the content alone.
        compress = path.name.lower().endswith(".gz")
        stream = gzip.GzipFile("", "wb", 6, raw, mtime=0) if compress else raw
        stream.write(header.binaryblock + extension)
        for k in range(grid.shape[2]):
            stream.write(data[..., k].astype(stored, copy=False).tobytes(order="F"))
        if compress:
            stream.close()


def _kept_header(meta: Mapping[str, Any], grid: Grid, path: Path) -> _Header | None:
    """Header of the file that `meta` comes from, if it lies on `grid`."""
    if META_HEADER not in meta:
        return None
    raw, order = meta[META_HEADER], meta[META_ORDER]
    repaired = _checked(raw, order, path)
    affine, _ = _geometry(repaired, path)
    same = repaired.get_data_shape()[:3] == grid.shape and Grid(grid.shape, affine).matches(grid)
    return _HEADERS[len(raw)](raw, order, check=False) if same else None


def _new_header(grid: Grid) -> _Header:
    """Header for a grid that no NIfTI file describes: sform = qform, code 1, millimetres, little-endian."""
    header = (nib.Nifti1Header if max(grid.shape) < 2**15 else nib.Nifti2Header)(endianness="<")
    header.set_data_shape(grid.shape)
    header.set_sform(grid.affine, code=1)
    header.set_qform(grid.affine, code=1, strip_shears=True)
    if _corner_distance(grid.shape, grid.affine, header.get_qform()) > FORM_TOLERANCE_MM:
        header["qform_code"] = 0  # a sheared grid has no quaternion; better none than a wrong one
    header.set_xyzt_units("mm")
    return header


def _name_extension(names: Mapping[int, str] | None, order: str) -> bytes:
    """The extension flag and, if there are names, one comment extension padded to 16 bytes."""
    if not names:
        return bytes(4)
    labels = {str(int(value)): str(name) for value, name in sorted(names.items())}
    text = json.dumps({"atlassegfm": {"labels": labels}}).encode("ascii")
    # Flag and extension end on a multiple of 16 counted from the file's start, as the standard asks (352 = 348 + 4).
    size = -(-(len(text) + 8) // 16) * 16
    return b"\1\0\0\0" + struct.pack(order + "ii", size, COMMENT_CODE) + text.ljust(size - 8, b"\0")
