"""What came of one query, as a JSON file that an interrupted run finds again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from atlassegfm.cohort.queries import Query
from atlassegfm.content import path_digest, path_signature
from atlassegfm.errors import InputError
from atlassegfm.io import file_sha256, write_text_atomic
from atlassegfm.report.json_report import plain

#: Why a query failed: our own error, another one, a lost process, no memory, no time.
KINDS = ("input", "error", "lost", "memory", "timeout")


@dataclass(frozen=True)
class CaseRecord:
    """One query's outcome.

    Parameters
    ----------
    name, source : str
        Of the results, and what the scan may be called in public: a file's name, of DICOM a name that tells no patient.
    settings, digest, signature : str
        Keys of settings, of the scan's content, and of names, sizes and times of its files.
    error, kind : str
        Why it failed, in one line and one word out of `KINDS`; both empty when it did not.
    seconds, peak_mb : float
        Time, and largest memory of the worker meanwhile.
    labels : list of dict
        value, name, volume_ml, quality and shape of each label.
    warnings : list of str
        What the user should know.
    outputs : dict of str to str
        Each file written, relative to the results' folder, to its SHA-256.
    """

    name: str
    source: str
    settings: str
    digest: str = ""
    signature: str = ""
    error: str = ""
    kind: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0
    labels: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    outputs: dict[str, str] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write as JSON, all of it or nothing."""
        write_text_atomic(path, json.dumps(plain(asdict(self)), indent=1, sort_keys=True) + "\n")

    @classmethod
    def read(cls, path: Path) -> CaseRecord | None:
        """The record in a file; None when there is none or it is damaged."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{f.name: data[f.name] for f in fields(cls)})
        except (OSError, ValueError, KeyError, TypeError):
            return None


def read_records(folder: Path) -> dict[str, CaseRecord]:
    """All records in a folder that are whole, by name."""
    records = (CaseRecord.read(path) for path in sorted(folder.glob("*.json")))
    return {record.name: record for record in records if record is not None}


def still_holds(record: CaseRecord, query: Query, settings: str, folder: Path) -> bool:
    """Whether a record is of these settings and this content, and what it says was written is there."""
    if record.settings != settings:
        return False
    try:
        same = record.signature == path_signature(query.path) or record.digest == path_digest(query.path)
    except InputError:
        # The scan cannot be read now; doing it again tells why.
        return False
    return same and _intact(folder, record.outputs)


def _intact(folder: Path, outputs: Mapping[str, str]) -> bool:
    try:
        return all(file_sha256(folder / name) == digest for name, digest in outputs.items())
    except InputError:
        return False
