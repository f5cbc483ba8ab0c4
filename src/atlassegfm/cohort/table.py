"""The table of a cohort: a CSV file with one query per line."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from atlassegfm.cohort.queries import Query
from atlassegfm.errors import InputError

COLUMNS = ("query", "name", "atlas", "labels", "series")
#: A name that is a file name on every system.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


def read_table(path: Path, series: str | None = None) -> list[Query]:
    """Read a CSV file with a header line.

    Column ``query`` has to be there; ``name`` (of the results), ``atlas`` and ``labels`` (its own atlas; both or none)
    and ``series`` (of a DICOM query) may be there or empty. Paths are relative to the table's folder.

    Parameters
    ----------
    path : Path
        The table; UTF-8, separated by commas or semicolons.
    series : str, optional
        For lines that have none.

    Raises
    ------
    InputError
        Names the line that cannot be used.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: expected text in UTF-8, got other bytes; save the table as CSV UTF-8") from error
    header = text.partition("\n")[0]
    rows = csv.DictReader(text.splitlines(), delimiter=";" if header.count(";") > header.count(",") else ",")
    columns = [(name or "").strip().lower() for name in rows.fieldnames or ()]
    unknown = [name for name in columns if name not in COLUMNS]
    if "query" not in columns or unknown:
        raise InputError(f"{path}: expected the columns {', '.join(COLUMNS)} (query at least), got {header.strip()!r}")
    rows.fieldnames = columns
    queries = []
    for row in rows:
        where = f"{path} line {rows.line_num}"
        if None in row:
            raise InputError(f"{where}: expected {len(columns)} columns, got more; put texts with commas in quotes")
        cells = {key: (value or "").strip() for key, value in row.items()}
        if any(cells.values()):
            queries.append(_query(cells, path.parent, where, series))
    return queries


def _query(cells: dict[str, str], folder: Path, where: str, series: str | None) -> Query:
    if not cells["query"]:
        raise InputError(f"{where}: expected a path in column query, got nothing")
    found = folder / cells["query"]
    if not found.exists():
        raise InputError(f"{where}: {found}: no such file or folder; paths are relative to the table's folder")
    name = cells.get("name", "")
    if name and not _NAME.fullmatch(name):
        raise InputError(f"{where}: expected a name of letters, digits, dot, dash and underscore, got {name!r}")
    atlas, labels = cells.get("atlas", ""), cells.get("labels", "")
    if bool(atlas) != bool(labels):
        raise InputError(f"{where}: expected atlas and labels together, got one of them; fill in both or none")
    own = (folder / atlas, folder / labels) if atlas else (None, None)
    for file in own:
        if file is not None and not file.exists():
            raise InputError(f"{where}: {file}: no such file or folder; paths are relative to the table's folder")
    return Query(found, name, cells.get("series") or series, *own)
