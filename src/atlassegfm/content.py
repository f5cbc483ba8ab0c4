"""What stands for a content: keys of settings and of this code, digests of scans, names fit for files.

Evaluation and cohorts find with these what an interrupted run has done already.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from atlassegfm.errors import InputError
from atlassegfm.io.files import file_sha256

#: Characters of a name as part of a file name.
LONGEST_NAME = 60
#: Rooms that plan, count and draw, but decide no voxel and no metric.
BYSTANDERS = ("report", "evaluation", "cohort")


def settings_key(settings: Any) -> str:  # noqa: ANN401 - anything JSON-able
    """Sixteen hexadecimal digits that stand for a JSON-able value."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


@cache
def code_digest() -> str:
    """Version of this package and a hash of the source files that decide numbers.

    The version alone would let a developer resume with results of older code. What only plans, counts and draws
    (reports, command line, cohorts) is left out, so that a new table does not cost a new run.
    """
    from importlib.metadata import version

    root = Path(__file__).resolve().parent
    digest = hashlib.sha256(version("atlassegfm").encode())
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).parts
        bystander = parts[0] in BYSTANDERS or parts[0].startswith("cli")
        if not bystander or parts[-1] == "metrics.py" or "baselines" in parts:
            digest.update("/".join(parts).encode() + path.read_bytes())
    return digest.hexdigest()


def safe_name(text: str) -> str:
    """Text as part of a file name, another one for each text.

    Letters, digits, dot, dash and underscore are kept. A text with others, or with more than `LONGEST_NAME`, is changed
    and gets the beginning of its hash behind it.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", text)
    if plain == text and len(text) <= LONGEST_NAME:
        return text
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{plain[: LONGEST_NAME - len(mark) - 1]}-{mark}"


def path_signature(path: Path) -> str:
    """Stands for names, sizes and times of change below a path: while it stays, the content need not be read again.

    Raises
    ------
    InputError
        If the path is missing or out of reach.
    """
    try:
        facts = [(name, state.st_size, state.st_mtime_ns) for name, state in ((n, p.stat()) for n, p in _files(path))]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    return settings_key(facts)


def path_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, or of the names and contents of all files of a folder.

    Raises
    ------
    InputError
        If the path is missing or a file cannot be read.
    """
    if path.is_file():
        return file_sha256(path)
    digest = hashlib.sha256()
    for name, file in _files(path):
        # An empty file is no scan, but it belongs to what is there.
        digest.update(f"{name}\0{file_sha256(file) if file.stat().st_size else ''}\n".encode())
    return digest.hexdigest()


def _files(path: Path) -> list[tuple[str, Path]]:
    """Name and path of each file, in an order that depends on the names alone."""
    if not path.is_dir():
        return [(path.name, path)]
    return sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
