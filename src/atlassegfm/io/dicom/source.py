"""Where DICOM files come from: a folder, a ZIP archive (read in place, nothing is unpacked), or one file."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from atlassegfm.errors import InputError
from atlassegfm.io.dicom.guard import dicom_errors
from atlassegfm.io.files import IMAGE_SUFFIXES, image_suffix, is_zip, read_errors, starts_like_dicom

#: More files than this are no scan.
MAX_FILES = 50_000
#: Largest member of an archive, bytes.
MAX_MEMBER_BYTES = 1 << 31
#: Members beyond `SMALL_BYTES` that claim to shrink by more than this are bombs; real scans shrink by 2 to 20.
MAX_RATIO = 100
SMALL_BYTES = 1 << 26


@dataclass(frozen=True, eq=False)
class Source:
    """DICOM files under one path.

    Parameters
    ----------
    path : Path
        As the user gave it.
    names : list of str
        Files that may be DICOM, sorted; relative to a folder or archive.
    open : callable
        Opens one of them for reading, seekable.
    """

    path: Path
    names: list[str]
    open: Callable[[str], IO[bytes]]

    def shown(self, name: str) -> str:
        """How an error names a file: with the path that the user gave."""
        return str(self.path) if self.path.is_file() and not is_zip(self.path) else f"{self.path}: {name}"


@contextmanager
def opened(path: str | Path) -> Iterator[Source]:
    """Open a folder, archive or file.

    Raises
    ------
    InputError
        If it is missing, out of reach, a damaged, encrypted or exploding archive, or holds too many files.
    """
    path = Path(path)
    if path.is_dir():
        yield Source(path, _files_below(path), lambda name: _file(path / name))
    elif not path.is_file():
        raise InputError(f"{path}: no such file or folder; check the path")
    elif is_zip(path):
        with dicom_errors(path, "damaged or incomplete ZIP archive", "copy or download it again"):
            archive = zipfile.ZipFile(path)
        with archive:
            yield Source(path, _members(path, archive), lambda name: _member(path, archive, name))
    else:
        yield Source(path, [path.name], lambda _: _file(path))


def _file(path: Path) -> IO[bytes]:
    with read_errors(path):
        return path.open("rb")


def _files_below(folder: Path) -> list[str]:
    """Regular files in a folder and below, other image formats left out; symbolic links to folders are not followed."""
    names = []
    for path in folder.rglob("*"):
        if path.is_file() and image_suffix(path) is None and not path.name.startswith("."):
            names.append(path.relative_to(folder).as_posix())
        if len(names) > MAX_FILES:
            raise InputError(f"{folder}: more than {MAX_FILES} files; give the folder of one patient")
    return sorted(names)


def _members(path: Path, archive: zipfile.ZipFile) -> list[str]:
    """Names of an archive's files. They are never used as paths, so one that points elsewhere can do no harm."""
    infos = [info for info in archive.infolist() if not info.is_dir()]
    if len(infos) > MAX_FILES:
        raise InputError(f"{path}: more than {MAX_FILES} files in the archive; give one patient")
    for info in infos:
        if info.flag_bits & 1:
            raise InputError(f"{path}: the archive is encrypted; unpack it and give the folder")
        if info.file_size > MAX_MEMBER_BYTES or info.file_size > max(SMALL_BYTES, MAX_RATIO * info.compress_size):
            raise InputError(
                f"{path}: a file of the archive claims {info.file_size} bytes out of {info.compress_size}, more than a "
                "scan can; unpack it and give the folder if you trust it"
            )
    return sorted({info.filename for info in infos if not info.filename.lower().endswith(IMAGE_SUFFIXES)})


def _member(path: Path, archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A member's content in memory; empty when it does not begin like DICOM, so that nothing else is inflated."""
    try:
        with archive.open(name) as stream:
            if not starts_like_dicom(stream):
                return io.BytesIO()
        with archive.open(name) as stream:
            return io.BytesIO(stream.read())
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError) as error:
        raise InputError(f"{path}: {name}: damaged in the archive; copy or download it again") from error
