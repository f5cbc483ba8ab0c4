"""Archives as they come from their homes, unpacked safely into a temporary folder."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from atlassegfm.errors import InputError

#: Endings taken as archives.
ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive."""
    return path.name.lower().endswith(ARCHIVES) and path.is_file()


@contextmanager
def opened(source: Path, scratch: Path) -> Iterator[list[Path]]:
    """Folders that hold a source's files; what had to be unpacked is deleted afterwards.

    Parameters
    ----------
    source : pathlib.Path
        A folder, an archive, or a folder with archives in it (data sets that come in several parts).
    scratch : pathlib.Path
        Folder to unpack into.

    Yields
    ------
    list of pathlib.Path
        The source itself when it is a folder, and one folder for each unpacked archive.

    Raises
    ------
    InputError
        When the source is missing, neither folder nor archive, damaged, or tries to leave the folder.
    """
    if not source.exists():
        raise InputError(f"{source}: no such file or folder; give the archive or folder as downloaded")
    if source.is_dir():
        archives, roots = sorted(p for p in source.iterdir() if is_archive(p)), [source]
    elif is_archive(source):
        archives, roots = [source], []
    else:
        raise InputError(f"{source}: expected a folder or an archive ({', '.join(ARCHIVES)})")
    unpacked = Path(tempfile.mkdtemp(prefix=".unpacking-", dir=scratch))
    try:
        for n, archive in enumerate(archives):
            folder = unpacked / f"{n:02d}"
            folder.mkdir()
            _unpack(archive, folder)
            roots.append(folder)
        yield roots
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _unpack(archive: Path, folder: Path) -> None:
    try:
        if archive.name.lower().endswith(".zip"):
            with zipfile.ZipFile(archive) as file:
                for entry in file.infolist():
                    _check_inside(archive, entry.filename)
                file.extractall(folder)
        else:
            with tarfile.open(archive) as file:
                # The "data" filter refuses links and paths that leave the folder, and device files.
                file.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        raise InputError(f"{archive}: refused, an entry would be written outside the folder ({error})") from error
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError) as error:
        raise InputError(f"{archive}: damaged or incomplete ({error}); download it again") from error
    except OSError as error:
        raise InputError(f"{archive}: cannot be unpacked ({error.strerror or error})") from error


def _check_inside(archive: Path, name: str) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"{archive}: refused, the entry {name!r} would be written outside the folder")


def find(roots: list[Path], pattern: str) -> list[Path]:
    """Files and folders below `roots` that match a glob, sorted by path.

    Hidden ones are passed over: what macOS leaves behind, and the folder this preparation is writing to.
    """
    found = set()
    for root in roots:
        for path in root.rglob(pattern):
            if not any(part.startswith((".", "__MACOSX")) for part in path.relative_to(root).parts):
                found.add(path)
    return sorted(found)
