"""Names and colours of labels, from the files that people keep them in.

Read are: ``dataset.json`` with ``{"labels": {"1": "liver"}}`` (AtlasSegFM, Medical Segmentation Decathlon) or
``{"labels": {"liver": 1}}`` (nnU-Net), a Slicer colour table (.ctbl; FreeSurfer tables look the same), an ITK-SNAP
label description, or text such as ``1=liver,2=spleen``. Background (0) is left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlassegfm.errors import InputError

Colour = tuple[int, int, int]

#: Okabe and Ito's colours (2008) without black: told apart with every common kind of colour blindness.
PALETTE: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (0, 114, 178),
    (213, 94, 0),
    (204, 121, 167),
)
FORMATS = "dataset.json, a Slicer .ctbl, an ITK-SNAP label file or text like 1=liver,2=spleen"

# index, red, green, blue, opacity, visible, mesh, "name"
_SNAP = re.compile(r'^\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+[\d.eE+-]+\s+\d+\s+\d+\s+"(.*)"\s*$')
# index, name, red, green, blue[, opacity]
_SLICER = re.compile(r"^\s*(\d+)\s+(.+?)\s+(\d+)\s+(\d+)\s+(\d+)(?:\s+\d+)?\s*$")
_INLINE = re.compile(r"\s*\d+\s*=")
_INLINE_SPLIT = re.compile(r"[,;\n]\s*(?=\d+\s*=)")


@dataclass(frozen=True)
class LabelTable:
    """What a source says about labels.

    Parameters
    ----------
    names : dict of int to str
        Name of each label value, background left out.
    colours : dict of int to (r, g, b)
        Colours from 0 to 255 where the source has them.
    """

    names: dict[int, str] = field(default_factory=dict)
    colours: dict[int, Colour] = field(default_factory=dict)


def palette(values: Iterable[int]) -> dict[int, Colour]:
    """Colours for label values: `PALETTE` in the order of the values, over and over."""
    return {value: PALETTE[n % len(PALETTE)] for n, value in enumerate(sorted(values))}


def read_label_names(source: str | Path | Mapping[Any, Any]) -> LabelTable:
    """Read label names from whatever the user gave.

    Parameters
    ----------
    source : str, Path or mapping
        Path of a file, text like ``1=liver,2=spleen``, or a mapping of value to name (or name to value).

    Returns
    -------
    LabelTable

    Raises
    ------
    InputError
        If the file is missing, is of another kind, or gives one value two names.
    """
    if isinstance(source, Mapping):
        return LabelTable(_names_from_mapping(source, "label names"))
    if isinstance(source, str) and _INLINE.match(source):
        return LabelTable(_names_from_text(source))
    path = Path(source)
    if not path.is_file():
        raise InputError(f"{source}: no such file with label names; give {FORMATS}")
    text = _decoded(path)
    if path.suffix.lower() == ".json":
        return LabelTable(_names_from_json(text, path))
    return _table_from_lines(text, path)


def pick(available: dict[int, str], wanted: Sequence[str] | None, where: str | Path) -> list[int]:
    """Label values of the wanted names; all for None.

    Upper and lower case are the same unless a name is there exactly as wanted.

    Raises
    ------
    InputError
        If a name does not occur; lists those that do.
    """
    if wanted is None:
        return list(available)
    values: list[int] = []
    for name in wanted:
        exact = [value for value, known in available.items() if known == name]
        found = exact or [value for value, known in available.items() if known.lower() == name.lower()]
        if not found:
            raise InputError(f"{where}: no structure is called {name!r}; it has {', '.join(available.values())}")
        values += found
    return sorted(set(values))


def find_dataset_json(labels_path: str | Path) -> Path | None:
    """The ``dataset.json`` in the folder of a label file or in the folder above, None when there is none."""
    folder = Path(labels_path).absolute().parent
    return next((p for p in (folder / "dataset.json", folder.parent / "dataset.json") if p.is_file()), None)


def _decoded(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _names_from_text(text: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for part in _INLINE_SPLIT.split(text.strip().strip(",;")):
        value, sign, name = part.partition("=")
        if not sign or not value.strip().isdecimal() or not name.strip():
            raise InputError(f"label names: expected text like 1=liver,2=spleen, got {part.strip()!r}")
        _add(names, int(value), name.strip(), "label names")
    return names


def _names_from_json(text: str, path: Path) -> dict[int, str]:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); give {FORMATS}") from error
    labels = content.get("labels") if isinstance(content, dict) else None
    if labels is None and isinstance(content, dict) and content and all(key.isdecimal() for key in content):
        labels = content  # a bare {"1": "liver"}
    if not isinstance(labels, dict):
        raise InputError(f'{path}: expected {{"labels": {{"1": "liver"}}}}, found no label names; give {FORMATS}')
    return _names_from_mapping(labels, str(path))


def _names_from_mapping(labels: Mapping[Any, Any], source: str) -> dict[int, str]:
    names: dict[int, str] = {}
    for key, entry in labels.items():
        if isinstance(entry, list | tuple):
            if len(entry) != 1:
                continue  # an nnU-Net region: several values under one name, which names none of them
            entry = entry[0]
        if isinstance(entry, str) and str(key).strip().isdecimal():
            _add(names, int(key), entry, source)
        elif _is_value(entry):
            _add(names, int(entry), str(key), source)
        else:
            raise InputError(f"{source}: expected a label value with its name, got {key!r}: {entry!r}; give {FORMATS}")
    return names


def _is_value(entry: object) -> bool:
    if isinstance(entry, bool):
        return False
    return str(entry).strip().isdecimal()


def _table_from_lines(text: str, path: Path) -> LabelTable:
    """ITK-SNAP and Slicer tables, told apart line by line."""
    table = LabelTable()
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if snap := _SNAP.match(line):
            value, *rgb, name = snap.groups()
        elif slicer := _SLICER.match(line):
            value, name, *rgb = slicer.groups()
            # Slicer writes spaces in names as underscores and reads them back as spaces.
            name = name.strip("'\"").replace("_", " ")
        else:
            raise InputError(f"{path}: line {number} is not a label with name and colour; give {FORMATS}")
        if max(map(int, rgb)) > 255:
            raise InputError(f"{path}: line {number} has a colour beyond 0-255; correct it")
        _add(table.names, int(value), name, str(path))
        if int(value):
            table.colours[int(value)] = (int(rgb[0]), int(rgb[1]), int(rgb[2]))
    if not table.names:
        raise InputError(f"{path}: found no label names in it; give {FORMATS}")
    return table


def _add(names: dict[int, str], value: int, name: str, source: str) -> None:
    name = " ".join(name.split())
    if value == 0 or not name:
        return
    if names.setdefault(value, name) != name:
        raise InputError(f"{source}: label {value} has two names, {names[value]!r} and {name!r}; keep one")
