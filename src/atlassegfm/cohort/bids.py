"""The images of a BIDS dataset as queries of a cohort.

Only what is needed of BIDS 1.10 is read: subjects, sessions, one data type, names made of entities and a suffix.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlassegfm.cohort.queries import Query
from atlassegfm.errors import InputError
from atlassegfm.io.files import stem

DESCRIPTION = "dataset_description.json"
#: ``sub-01_ses-1_acq-x_T1w``: entities with their values, and a suffix.
_NAME = re.compile(r"((?:[A-Za-z]+-[A-Za-z0-9+]+_)+)([A-Za-z0-9]+)")


@dataclass(frozen=True)
class BidsName:
    """The name of a file of a BIDS dataset, without its extension.

    Parameters
    ----------
    entities : tuple of (str, str)
        Such as ``("sub", "01")``, in the file's order.
    suffix : str
        Such as ``T1w``.
    """

    entities: tuple[tuple[str, str], ...]
    suffix: str

    @classmethod
    def read(cls, text: str) -> BidsName | None:
        """The parts of a name; None when it is not made as BIDS asks."""
        match = _NAME.fullmatch(text)
        if match is None:
            return None
        pairs = tuple(tuple(part.split("-", 1)) for part in match[1].split("_") if part)
        return cls(pairs, match[2]) if pairs[0][0] == "sub" else None

    def __getitem__(self, entity: str) -> str | None:
        """The value of an entity, None when it is not there."""
        return dict(self.entities).get(entity)

    @property
    def place(self) -> Path:
        """Folder of the subject, and of the session where there is one, within the dataset."""
        session = self["ses"]
        return Path(f"sub-{self['sub']}", *([f"ses-{session}"] if session else []))


@dataclass(frozen=True)
class Wanted:
    """Which images of a dataset.

    Parameters
    ----------
    participants, sessions : tuple of str
        Labels with or without ``sub-`` and ``ses-``; empty for all.
    datatype : str
        Folder within subject or session, such as ``anat``.
    suffix : str or None
        Such as ``T1w``; None when there is but one.
    entities : mapping of str to str
        Values that names must have, such as ``{"acq": "mprage"}``.
    """

    participants: tuple[str, ...] = ()
    sessions: tuple[str, ...] = ()
    datatype: str = "anat"
    suffix: str | None = None
    entities: Mapping[str, str] = ()  # type: ignore[assignment]


def read_description(folder: Path) -> dict[str, Any]:
    """``dataset_description.json`` of a dataset.

    Raises
    ------
    InputError
        If it is missing or no JSON object.
    """
    path = folder / DESCRIPTION
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InputError(
            f"{folder}: expected a BIDS dataset, got a folder without {DESCRIPTION}; give its top"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    except ValueError as error:
        raise InputError(f"{path}: expected JSON, got something else; run a BIDS validator on the dataset") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected a JSON object, got something else; run a BIDS validator on the dataset")
    return found


def find_bids(folder: Path, wanted: Wanted, *, leave_out: Iterable[Path] = ()) -> list[Query]:
    """The images that are wanted, by subject, session and name.

    Parameters
    ----------
    folder : Path
        Top of the dataset.
    wanted : Wanted
        Which.
    leave_out : iterable of Path
        Files that are no queries (the atlas's).

    Raises
    ------
    InputError
        If there is no such participant, session or image, or images of several kinds and no choice.
    """
    read_description(folder)
    left_out = {path.resolve() for path in leave_out}
    subjects = _chosen(folder, "sub", wanted.participants, "--participant-label")
    images: list[tuple[Path, BidsName]] = []
    sessions = tuple(_bare(label, "ses") for label in wanted.sessions)
    for path in (path for subject in subjects for path in _images(subject, wanted.datatype)):
        name = BidsName.read(stem(path))
        if name is None or path.resolve() in left_out or (sessions and name["ses"] not in sessions):
            continue
        if all(name[key] == value for key, value in dict(wanted.entities).items()):
            images.append((path, name))
    suffix = _suffix(images, wanted, folder)
    missing = [label for label in sessions if label not in {name["ses"] for _, name in images}]
    if missing:
        raise InputError(f"--session-label {', '.join(missing)}: no {suffix} image of that session; check the label")
    return [Query(path, stem(path)) for path, name in images if name.suffix == suffix]


def _bare(label: str, entity: str) -> str:
    return label.removeprefix(f"{entity}-")


def _chosen(folder: Path, entity: str, labels: Sequence[str], option: str) -> list[Path]:
    found = sorted(path for path in folder.glob(f"{entity}-*") if path.is_dir())
    if not found:
        raise InputError(f"{folder}: expected folders called {entity}-..., got none; give the top of a BIDS dataset")
    wanted = [f"{entity}-{_bare(label, entity)}" for label in labels]
    missing = [name for name in wanted if name not in {path.name for path in found}]
    if missing:
        there = ", ".join(path.name for path in found[:20]) + (", ..." if len(found) > 20 else "")
        raise InputError(f"{option}: {', '.join(missing)} is not in {folder}; it has {there}")
    return [path for path in found if not labels or path.name in wanted]


def _images(subject: Path, datatype: str) -> list[Path]:
    """NIfTI files of a data type; a link to content that was not fetched counts, and tells so when it is read."""
    places = [subject / datatype, *sorted(subject.glob(f"ses-*/{datatype}"))]
    return [
        path for place in places for path in sorted(place.glob("sub-*.nii*")) if path.name.endswith((".nii", ".gz"))
    ]


def _suffix(images: Sequence[tuple[Path, BidsName]], wanted: Wanted, folder: Path) -> str:
    """The kind of image that is meant."""
    found = Counter(name.suffix for _, name in images)
    listed = ", ".join(f"{suffix} ({count})" for suffix, count in sorted(found.items()))
    if not found or (wanted.suffix and wanted.suffix not in found):
        raise InputError(
            f"{folder}: no {wanted.suffix or 'NIfTI'} image of data type {wanted.datatype} as asked for; there is "
            f"{listed or 'none'}; check --datatype, --suffix, --entity and the labels"
        )
    if wanted.suffix is None and len(found) > 1:
        raise InputError(f"{folder}: expected images of one kind, got {listed}; choose with --suffix")
    return wanted.suffix or next(iter(found))
