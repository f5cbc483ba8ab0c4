"""What can be checked before anything is computed: files, folders, names, choices. Cheap, and never imports torch."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from atlassegfm.errors import InputError
from atlassegfm.io import IMAGE_SUFFIXES, image_suffix, is_dicom, scan_name
from atlassegfm.report.formats import needs_dicom
from atlassegfm.report.outputs import Outputs


@dataclass(frozen=True)
class Job:
    """One query and where its results go."""

    query: Path
    stem: str
    outputs: Outputs


def check_readable(path: Path, *, image: bool = True) -> Path:
    """Return `path` if it is a file that can be opened and, for images, whose name says so; DICOM may be a folder.

    Raises
    ------
    InputError
        One line with the file's name and the cure.
    """
    if image and is_dicom(path):
        return path
    if path.is_dir():
        raise InputError(f"{path}: expected a file, got a folder; give the file itself")
    try:
        with path.open("rb"):
            pass
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    if image and image_suffix(path) is None:
        raise InputError(f"{path}: expected DICOM or an image file ({', '.join(IMAGE_SUFFIXES)}); convert it")
    return path


def plan_jobs(
    queries: Sequence[Path],
    out_dir: Path,
    others: Iterable[Path],
    *,
    series: str | None = None,
    formats: Sequence[str] = ("nifti",),
) -> list[Job]:
    """Check all input files and pair each query with its outputs.

    Parameters
    ----------
    queries : sequence of Path
        The scans to segment.
    out_dir : Path
        Folder for the results; need not exist.
    others : iterable of Path
        Atlas files, which no output may overwrite.
    series : str or None
        Which series of each DICOM query (see `atlassegfm.io.read_image`).
    formats : sequence of str
        What is written.

    Raises
    ------
    InputError
        If a file is missing or unreadable, a format does not fit a query, two queries would write the same outputs, or
        an output would overwrite an input.
    """
    others = list(others)
    for path in others:
        check_readable(path)
    jobs: dict[str, Job] = {}
    for query in queries:
        check_readable(query)
        if needs_dicom(formats) and not is_dicom(query):
            raise InputError(
                f"{query}: --format {', '.join(needs_dicom(formats))} refers to a DICOM series, and this query is not "
                "DICOM; give its DICOM folder or leave that format out"
            )
        name = scan_name(query, series)
        if name in jobs:
            raise InputError(
                f"{query}: has the same name as {jobs[name].query}, so their results would overwrite each other; "
                "rename one or segment it into another folder"
            )
        jobs[name] = Job(query, name, Outputs.of(out_dir, name, formats))
    written = [path for job in jobs.values() for path in job.outputs.items().values()]
    check_no_overwrite([*queries, *others], written)
    return list(jobs.values())


def check_no_overwrite(inputs: Iterable[Path], outputs: Iterable[Path]) -> None:
    """Refuse to run when an output is one of the inputs, under whatever name.

    Raises
    ------
    InputError
        Names the input.
    """
    existing = [path for path in outputs if path.exists()]
    for path in inputs:
        for output in existing:
            if os.path.samefile(path, output):
                raise InputError(f"{path}: would be overwritten by the result {output}; choose another folder with -o")


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Make the folder, prove that it can be written to, and remove it again if nothing came to lie in it.

    Raises
    ------
    InputError
        If it cannot be made or written to.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        _remove_empty(made)
        why = "it is a file" if path.is_file() else (error.strerror or str(error))
        raise InputError(f"{path}: cannot be used as output folder ({why}); choose another with -o") from error
    try:
        yield path
    finally:
        _remove_empty(made)


def _remove_empty(folders: list[Path]) -> None:
    """Remove the folders from the innermost outwards, as far as they are empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def check_choice(value: str, choices: Iterable[str], option: str) -> str:
    """Return `value` if it is one of the choices.

    Raises
    ------
    InputError
        Lists the choices.
    """
    choices = list(choices)
    if value not in choices:
        raise InputError(f"{option}: expected one of {', '.join(choices)}, got {value!r}")
    return value


def names_given(text: str | None, option: str) -> list[str] | None:
    """Names such as ``Kidney_L,Kidney_R``; None stays None.

    Raises
    ------
    InputError
        If there is no name in the text.
    """
    if text is None:
        return None
    names = [" ".join(word.split()) for word in text.split(",") if word.strip()]
    if not names:
        raise InputError(f"{option}: expected names such as Kidney_L,Kidney_R, got {text!r}")
    return names


def whole_numbers(text: str | None, option: str) -> list[int] | None:
    """Numbers such as ``1,2,6``; None stays None.

    Raises
    ------
    InputError
        If the text is anything else.
    """
    if text is None:
        return None
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isascii() and word.isdecimal() for word in words):
        raise InputError(f"{option}: expected label values such as 1,2,6, got {text!r}")
    return [int(word) for word in words]


def key_values(texts: Iterable[str] | None, option: str) -> dict[str, str]:
    """Settings such as ``iterations=200``; of a key that is given twice the last counts.

    Raises
    ------
    InputError
        If a text is anything else.
    """
    out = {}
    for text in texts or ():
        key, _, value = (part.strip() for part in text.partition("="))
        if not key or not value:
            raise InputError(f"{option}: expected KEY=VALUE, got {text!r}")
        out[key] = value
    return out


def label_names_source(text: str | None) -> str | None:
    """`--label-names` as given, checked when it is a file and not ``1=liver,2=spleen``.

    Raises
    ------
    InputError
        If it is neither a file nor a list.
    """
    if text is not None and ("=" not in text or Path(text).exists()):
        check_readable(Path(text), image=False)
    return text


def as_given(paths: Mapping[str, Path]) -> dict[str, str]:
    """Paths as text, for JSON."""
    return {role: str(path) for role, path in paths.items()}
