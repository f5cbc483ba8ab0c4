"""A folder of scans with labels, as `evaluate` reads it and `data prepare` writes it.

Layout::

    DATASET/dataset.json         {"name": ..., "modality": ..., "labels": {"1": "liver", ...}, "licence": ...}
    DATASET/images/ID.nii.gz
    DATASET/labels/ID.nii.gz
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from atlassegfm.errors import InputError
from atlassegfm.io import IMAGE_SUFFIXES, file_sha256, image_suffix, stem


@dataclass(frozen=True)
class Case:
    """One scan and its label map."""

    id: str
    image: Path
    labels: Path

    def digest(self) -> str:
        """SHA-256 over the bytes of the image and of the label map."""
        return hashlib.sha256((file_digest(self.image) + file_digest(self.labels)).encode()).hexdigest()


@dataclass(frozen=True)
class Dataset:
    """Scans with label maps and the names of the labels.

    Parameters
    ----------
    folder : pathlib.Path
        Where it lies.
    name, modality, licence : str
        From ``dataset.json``; empty when not given there.
    labels : dict of int to str
        Name of each label value.
    cases : tuple of Case
        Sorted by id.
    """

    folder: Path
    name: str
    modality: str
    licence: str
    labels: dict[int, str]
    cases: tuple[Case, ...]

    @classmethod
    def load(cls, folder: str | Path) -> Dataset:
        """Read and check a dataset folder.

        Raises
        ------
        InputError
            One line that says which file or entry is missing or wrong.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; expected one with images/, labels/ and dataset.json")
        facts = _read_facts(folder / "dataset.json")
        images, labels = _scans(folder / "images"), _scans(folder / "labels")
        for here, there, kind in ((images, labels, "label map in labels/"), (labels, images, "image in images/")):
            lonely = sorted(set(here) - set(there))
            if lonely:
                more = f" (and {len(lonely) - 1} more)" if len(lonely) > 1 else ""
                raise InputError(f"{here[lonely[0]]}: no {kind} has the same name{more}")
        if len(images) < 2:
            raise InputError(f"{folder}: expected at least two cases, an atlas and a query, got {len(images)}")
        return cls(
            folder=folder,
            name=str(facts.get("name", folder.resolve().name)),
            modality=str(facts.get("modality", "")),
            licence=str(facts.get("licence", "")),
            labels=_label_names(facts, folder / "dataset.json"),
            cases=tuple(Case(i, images[i], labels[i]) for i in sorted(images)),
        )

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of all cases, sorted."""
        return tuple(case.id for case in self.cases)

    def case(self, case_id: str) -> Case:
        """The case of that id."""
        for case in self.cases:
            if case.id == case_id:
                return case
        raise InputError(f"{self.folder}: no case {case_id!r}; expected one of {_shortened(self.ids)}")

    def chosen_labels(self, values: Sequence[int] | None = None) -> dict[int, str]:
        """Names of the wanted labels (all of ``dataset.json`` if None)."""
        if values is None:
            return dict(self.labels)
        unknown = [v for v in values if v not in self.labels]
        if unknown:
            raise InputError(f"{self.folder}: no label {unknown[0]}; expected some of {_shortened(self.labels)}")
        return {v: self.labels[v] for v in sorted(set(values))}


def _read_facts(path: Path) -> dict:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f'{path}: missing; expected {{"name": ..., "labels": {{"1": "name"}}}}') from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not readable as JSON ({str(error).splitlines()[0]})") from error
    if not isinstance(facts, dict):
        raise InputError(f"{path}: expected a JSON object, got a {type(facts).__name__}")
    return facts


def _label_names(facts: dict, path: Path) -> dict[int, str]:
    names = facts.get("labels")
    if not isinstance(names, dict) or not names:
        raise InputError(f'{path}: expected "labels" to map values to names, for example {{"1": "liver"}}')
    result = {}
    for key, name in names.items():
        if not (isinstance(key, str) and key.isdecimal()):
            # nnU-Net writes {"liver": 1}: easy to mix up, so the cure is named.
            raise InputError(f'{path}: label key {key!r} is not a whole number; expected {{"1": "liver"}}')
        if int(key) > 0:
            result[int(key)] = str(name)
    if not result:
        raise InputError(f'{path}: "labels" names nothing but the background')
    return dict(sorted(result.items()))


def _scans(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; a dataset has images/ and labels/")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        # Names that start with a dot are what systems leave behind (._ID.nii.gz from macOS archives).
        if image_suffix(path) is None or path.name.startswith(".") or not path.is_file():
            continue
        case_id = stem(path)
        if case_id in found:
            raise InputError(f"{path}: the case {case_id!r} is there twice, also as {found[case_id].name}")
        found[case_id] = path
    if not found:
        raise InputError(f"{folder}: holds no scan ({', '.join(IMAGE_SUFFIXES)})")
    return found


def _shortened(items: Sequence | dict, most: int = 8) -> str:
    texts = [str(item) for item in items]
    return ", ".join(texts[:most]) + (f", ... ({len(texts)} in all)" if len(texts) > most else "")


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes; remembered while size and time of change stay the same."""
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return _digest(path, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed_ns: int) -> str:
    return file_sha256(path)
