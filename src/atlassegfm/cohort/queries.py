"""What a cohort consists of: folders, globs, tables and files turned into queries with names of their own."""

from __future__ import annotations

import glob
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from atlassegfm.content import path_signature, safe_name, settings_key
from atlassegfm.errors import InputError
from atlassegfm.io import image_suffix, is_dicom
from atlassegfm.io.files import is_zip, stem

if TYPE_CHECKING:
    from atlassegfm.io.dicom import DicomSeries
    from atlassegfm.io.dicom.stacks import Stack


@dataclass(frozen=True)
class Query:
    """One scan of a cohort.

    Parameters
    ----------
    path : Path
        File, or folder of a DICOM series.
    name : str
        What its results are called; unique in the cohort, whatever the case of its letters.
    series : str or None
        SeriesInstanceUID or number, where a DICOM folder holds several.
    atlas, labels : Path or None
        Its own atlas in place of the cohort's.
    found : FoundScan or None
        What is known of a DICOM series; no part of what makes two queries equal.
    """

    path: Path
    name: str = ""
    series: str | None = None
    atlas: Path | None = None
    labels: Path | None = None
    found: FoundScan | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, eq=False)
class FoundScan:
    """A DICOM series as it was found; its headers need not be read again while the signature stays.

    Parameters
    ----------
    series : DicomSeries
        Its slices.
    flawed : list of Stack
        Images beside it that are no volumes, of which a notice tells.
    signature : str
        See `content.path_signature`.
    """

    series: DicomSeries
    flawed: list[Stack]
    signature: str


def is_cohort(path: Path, series: str | None = None) -> bool:
    """Whether a path stands for several queries: a table, a glob, or a folder that is not one DICOM scan's.

    A folder whose files all lie in one place, none of them an image file, is one scan, as is any when a series is
    chosen.
    """
    if path.suffix.lower() == ".csv" or _is_glob(path):
        return True
    if not path.is_dir() or series is not None:
        return False
    folders = [Path(folder) for folder, files in _walk(path) if files]
    return len(folders) > 1 or any(image_suffix(file) or is_zip(file) for folder in folders for file in _below(folder))


def find_queries(paths: Sequence[Path], *, series: str | None = None, leave_out: Iterable[Path] = ()) -> list[Query]:
    """All queries, in the order of the paths and by name within each.

    Parameters
    ----------
    paths : sequence of Path
        Files, folders (searched below), globs (with ``**``), tables (CSV, see `cohort.table`).
    series : str, optional
        Of every DICOM query.
    leave_out : iterable of Path
        Files that are no queries (the atlas's) and folders that are not searched (that of the results).

    Raises
    ------
    InputError
        If a path leads to no scan, or names are given twice.
    """
    left_out = {path.resolve() for path in leave_out}
    found: list[Query] = []
    for path in paths:
        queries = [q for q in _expand(path, series, left_out) if q.path.resolve() not in left_out]
        if not queries:
            raise InputError(f"{path}: no scan found (beside atlas and results); check the path or the pattern")
        found += queries
    return _named(_once(found))


def _expand(path: Path, series: str | None, left_out: set[Path]) -> list[Query]:
    if path.suffix.lower() == ".csv":
        from atlassegfm.cohort.table import read_table

        return read_table(path, series)
    if _is_glob(path):
        found = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
        return [query for match in found for query in _one(match, series, left_out)]
    return _one(path, series, left_out)


def _one(path: Path, series: str | None, left_out: set[Path]) -> list[Query]:
    if path.is_dir():
        return _in_folder(path, series, left_out)
    if not path.exists():
        raise InputError(f"{path}: no such file or folder; check the path")
    return [Query(path, series=series if is_dicom(path) else None)]


def _is_glob(path: Path) -> bool:
    return glob.has_magic(str(path)) and not path.exists()


def _walk(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Folders below, sorted, with their files; hidden ones are left out."""
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield here, sorted(name for name in files if not name.startswith("."))


def _below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _in_folder(folder: Path, series: str | None, left_out: set[Path]) -> list[Query]:
    """Image files, archives and DICOM series below a folder; a folder with DICOM files is asked for its volumes."""
    found: list[Query] = []
    for here, names in _walk(folder):
        place = Path(here)
        if any(skipped == place.resolve() or skipped in place.resolve().parents for skipped in left_out):
            continue
        loose = False
        for path in (place / name for name in names):
            if image_suffix(path) or is_zip(path):
                found.append(Query(path, series=series if is_zip(path) else None))
            else:
                loose = loose or is_dicom(path)
        if loose:
            found += _series_in(place, series)
    return found if series is not None else _joined(found)


def _joined(queries: list[Query]) -> list[Query]:
    """Series that lie in several folders, in parts or as copies, become one query each, of the folder above these."""
    places: dict[str, list[Path]] = defaultdict(list)
    for query in queries:
        if query.series and query.path.is_dir():
            places[query.series].append(query.path)
    found = []
    for query in queries:
        spread = places.get(query.series or "", [])
        if len(spread) > 1 and query.path in spread:
            query = replace(query, path=Path(os.path.commonpath(spread)), found=None)
        if query not in found:
            found.append(query)
    return found


def _series_in(folder: Path, series: str | None) -> list[Query]:
    """A query for each volume among the DICOM files of one folder, not those of folders below."""
    if series is not None:
        # Chosen by the user, by number or UID: it is looked for in each folder.
        return [Query(folder, series=series)]
    from atlassegfm.io.dicom.headers import scan_frames
    from atlassegfm.io.dicom.series import as_series
    from atlassegfm.io.dicom.source import opened
    from atlassegfm.io.dicom.stacks import stacks_of

    try:
        with opened(folder) as source:
            here = replace(source, names=[name for name in source.names if "/" not in name])
            stacks = stacks_of(scan_frames(here))
    except InputError:
        # Damaged: it stays in the cohort, and reading it says what is wrong.
        return [Query(folder)]
    volumes = [stack for stack in stacks if not stack.flaw]
    counts = Counter(stack.uid for stack in volumes)
    flawed, signature = [stack for stack in stacks if stack.flaw], path_signature(folder)
    # By its UID, so that what lies in folders below does not make the choice unclear.
    known = {stack.uid: FoundScan(as_series(folder, stack), flawed, signature) for stack in volumes}
    return [Query(folder, series=uid, found=known[uid] if count == 1 else None) for uid, count in counts.items()]


def _once(queries: Sequence[Query]) -> list[Query]:
    """Without those that came up before, such as by a file and by its folder."""
    first = {(query.path.resolve(), query.series): query for query in reversed(queries)}
    return [query for query in queries if first[query.path.resolve(), query.series] is query]


def _named(queries: Sequence[Query]) -> list[Query]:
    """Every query with a name; files of one name are told apart by the folders they lie in."""
    _check_given([query for query in queries if query.name])
    taken = {query.name.lower() for query in queries if query.name}
    groups: dict[str, list[int]] = defaultdict(list)
    queries = [_looked_into(query) for query in queries]
    names = [query.name or _own_name(query) for query in queries]
    for n, (query, name) in enumerate(zip(queries, names, strict=True)):
        if not query.name:
            groups[name.lower()].append(n)
    for name, members in groups.items():
        if len(members) > 1 or name in taken:
            for n in members:
                names[n] = _longer_name(queries[n], names[n], [queries[m] for m in members])
    if len({name.lower() for name in names}) < len(names):
        # Names made longer have met another one; a mark of the path always tells them apart.
        seen: set[str] = set()
        for n, query in enumerate(queries):
            if names[n].lower() in seen or (not query.name and names[n].lower() in taken):
                names[n] = f"{names[n]}-{settings_key([str(query.path), query.series])[:8]}"
            seen.add(names[n].lower())
    return [replace(query, name=name) for query, name in zip(queries, names, strict=True)]


def _check_given(queries: Iterable[Query]) -> None:
    first: dict[str, Query] = {}
    for query in queries:
        other = first.setdefault(query.name.lower(), query)
        if other is not query:
            raise InputError(
                f"{query.path}: its output name {query.name!r} is that of {other.path} too, so their results would "
                "overwrite each other; give another name"
            )


def _looked_into(query: Query) -> Query:
    """With what is found of its DICOM series; nothing when it is damaged, which reading it will tell."""
    if query.found is not None or not is_dicom(query.path):
        return query
    from atlassegfm.io.dicom import find_series

    try:
        signature = path_signature(query.path)
        series, others = find_series(query.path, query.series)
    except InputError:
        return query
    return replace(query, found=FoundScan(series, [stack for stack in others if stack.flaw], signature))


def _own_name(query: Query) -> str:
    if query.found is not None:
        return query.found.series.name
    if not is_dicom(query.path):
        return safe_name(stem(query.path))
    # No name from the file, which may be a patient's.
    return f"dicom_{settings_key(str(query.path.resolve()))[:8]}"


def _longer_name(query: Query, name: str, others: Sequence[Query]) -> str:
    """The name with as many folders before it as tell it from the others; DICOM folders may be named after patients."""
    if is_dicom(query.path):
        return f"{name}-{settings_key([str(query.path.resolve()), query.series])[:8]}"
    folders = query.path.resolve().parent.parts[1:]
    for depth in range(1, len(folders) + 1):
        mine = folders[-depth:]
        if sum(other.path.resolve().parent.parts[1:][-depth:] == mine for other in others) == 1:
            return safe_name("_".join((*mine, name)))
    return safe_name("_".join((*folders, query.path.name)))
