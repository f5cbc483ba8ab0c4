"""Paths and bytes: file checks, atomic writing, bounded reading, hashes."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
import secrets
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from atlassegfm.errors import InputError

#: Image files that are read; the longest match wins, upper and lower case alike.
IMAGE_SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
#: Deflate cannot shrink data by more than this factor, so a header that claims more than that is wrong.
MAX_DEFLATE_RATIO = 1032
#: Larger images are refused before memory is taken for them (2**31 float32 voxels are 8 GiB).
MAX_VOXELS = 2**31
#: Bytes read at a time, so that memory follows what the file holds and not what its header claims.
CHUNK_BYTES = 1 << 24


def image_suffix(path: str | Path) -> str | None:
    """Lower-case image suffix of a path (``.nii.gz`` as one), None when it is not an accepted one."""
    name = Path(path).name.lower()
    return next((s for s in IMAGE_SUFFIXES if name.endswith(s) and len(name) > len(s)), None)


def is_zip(path: str | Path) -> bool:
    """Whether a path is called a ZIP archive."""
    return Path(path).suffix.lower() == ".zip"


def is_dicom(path: str | Path) -> bool:
    """Whether a path is read as DICOM: a folder, a ZIP archive, or a file that begins as DICOM does.

    Files with the suffix of another image format are not, whatever is in them.
    """
    path = Path(path)
    if path.is_dir() or (is_zip(path) and path.is_file()):
        return True
    if image_suffix(path) is not None or not path.is_file():
        return False
    with read_errors(path), path.open("rb") as stream:
        return starts_like_dicom(stream)


def starts_like_dicom(stream: IO[bytes]) -> bool:
    """Whether the next bytes are those that DICOM begins with: preamble and magic word, or a first tag without them."""
    start = stream.read(132)
    if start[128:] == b"DICM":
        return True
    # Group 0002 or 0008 in little-endian order, an element above 0 and below 256.
    return start[:2] in (b"\x02\x00", b"\x08\x00") and start[2:3] != b"\0" and start[3:4] == b"\0"


def stem(path: str | Path) -> str:
    """File name without its image suffix: ``a.b.nii.gz`` -> ``a.b``; other names stay as they are."""
    name, suffix = Path(path).name, image_suffix(path)
    return name if suffix is None else name[: -len(suffix)]


def check_file(path: str | Path) -> Path:
    """Return `path` if it is a file with content.

    Raises
    ------
    InputError
        If it is missing, a folder, empty or out of reach.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path}: expected an image file ({', '.join(IMAGE_SUFFIXES)}), got a folder")
        if not path.exists():
            raise InputError(f"{path}: no such file; check the path")
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty (0 bytes); copy or download it again")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    return path


@contextmanager
def read_errors(path: Path) -> Iterator[None]:
    """Turn what goes wrong while bytes are read or inflated into one-line `InputError`."""
    try:
        yield
    except EOFError as error:
        raise InputError(f"{path}: the compressed data end early (truncated); copy or download it again") from error
    except (zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: the compressed data are damaged ({error}); copy or download it again") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check its permissions") from error


def is_gzip(path: Path) -> bool:
    """Whether the content is gzip, whatever the name says."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


def open_stream(path: Path) -> IO[bytes]:
    """Open a plain or gzip file for reading, told apart by its content."""
    return gzip.open(path, "rb") if is_gzip(path) else path.open("rb")


def read_exactly(stream: IO[bytes], count: int, path: Path, what: str) -> bytearray:
    """Read `count` bytes, taking memory only for what really comes."""
    out = bytearray()
    while len(out) < count:
        chunk = stream.read(min(CHUNK_BYTES, count - len(out)))
        if not chunk:
            raise InputError(
                f"{path}: expected {count} bytes of {what}, got {len(out)} (truncated file or wrong header); "
                "copy or download it again"
            )
        out += chunk
    return out


def inflate_exactly(stream: IO[bytes], count: int, path: Path, what: str) -> bytearray:
    """Read `count` bytes out of the zlib or gzip data that follow in `stream`, checksum included.

    Raises
    ------
    EOFError, zlib.error
        If the compressed data end early or are damaged.
    InputError
        If they hold less.
    """
    out, decoder, chunk = bytearray(), zlib.decompressobj(47), stream.read(1 << 20)  # 47: zlib or gzip, told by content
    while True:
        if not chunk:
            raise EOFError
        # One byte beyond the wanted ones lets the decoder reach the checksum, and no more than that is kept.
        out += decoder.decompress(chunk, min(CHUNK_BYTES, count + 1 - len(out)))
        if decoder.eof:
            chunk = decoder.unused_data or stream.read(1 << 20)
            if not chunk.startswith(b"\x1f\x8b"):
                break
            decoder = zlib.decompressobj(47)
        elif len(out) > count:
            break
        else:
            chunk = decoder.unconsumed_tail or stream.read(1 << 20)
    if len(out) < count:
        raise InputError(f"{path}: expected {count} bytes of {what}, got {len(out)}; copy or export it again")
    return out[:count]


def check_size(path: Path, shape: tuple[int, ...], content_bytes: int, needed_bytes: int) -> None:
    """Refuse a header whose image cannot lie in the file or in memory, before anything is allocated.

    Parameters
    ----------
    path : Path
        Named in the error.
    shape : tuple of int
        What the header claims.
    content_bytes : int
        The most bytes that the file can yield.
    needed_bytes : int
        The bytes that `shape` needs.
    """
    if needed_bytes > content_bytes:
        raise InputError(
            f"{path}: its header claims {' x '.join(map(str, shape))} voxels ({needed_bytes} bytes), the file can "
            f"hold {max(0, content_bytes)} at most (truncated file or wrong header); copy or export it again"
        )
    if math.prod(shape) > MAX_VOXELS:
        raise InputError(
            f"{path}: expected at most {MAX_VOXELS} voxels, got {' x '.join(map(str, shape))}; crop or downsample it"
        )


def check_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Shape of the 3D image left when trailing axes of length one are dropped.

    Raises
    ------
    InputError
        If the image is 2D, a single slice, or has more than one volume.
    """
    got = " x ".join(map(str, shape))
    if any(n < 1 for n in shape):
        raise InputError(f"{path}: expected at least one voxel along each axis, got {got}; export it again")
    if any(n > 1 for n in shape[3:]):
        raise InputError(
            f"{path}: expected one 3D image, got a {len(shape)}D one of {got} ({math.prod(shape[3:])} volumes); "
            "extract one volume into its own file"
        )
    if len(shape) < 3 or min(shape[:3]) < 2:
        raise InputError(f"{path}: expected a 3D image, got a 2D one of {got} voxels; give the whole volume")
    return shape[0], shape[1], shape[2]


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder and rename it to `path` when the block ends well.

    The temporary name keeps the suffixes (lower case), so that writers which choose a format by suffix work. If the
    block raises, the temporary file is deleted and an older file at `path` stays as it was.

    Parameters
    ----------
    path : str or Path
        Where the finished file goes.

    Yields
    ------
    Path
        A name that does not exist yet.

    Raises
    ------
    InputError
        If the folder is missing or cannot be written to, if the disk is full, or if `path` is a folder.
    """
    path = Path(path)
    suffix = image_suffix(path) or path.suffix
    temporary = path.parent / f".{path.name[:40]}.{secrets.token_hex(6)}.tmp{suffix}"
    try:
        if path.is_dir():
            raise InputError(f"{path}: expected a file to write, got a folder; choose another name")
        if not path.parent.is_dir():
            raise InputError(f"{path}: the folder {path.parent} does not exist; create it first")
        try:
            yield temporary
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder's permissions and free space"
        ) from error


def write_text_atomic(path: str | Path, text: str) -> None:
    """Write UTF-8 text with Unix line ends through a temporary file (see `atomic_path`)."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, 64 lower-case hex digits.

    Raises
    ------
    InputError
        If the file is missing or cannot be read.
    """
    path = check_file(path)
    with read_errors(path), path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
