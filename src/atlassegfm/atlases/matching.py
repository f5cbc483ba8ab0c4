"""Labels of several atlases are one label when they have one value; then they have to have one name, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from atlassegfm.atlas import Atlas
from atlassegfm.errors import InputError
from atlassegfm.label_names import Colour


@dataclass(frozen=True)
class LabelTable:
    """Names and colours of all labels that any of the atlases has.

    Parameters
    ----------
    names, colours : dict
        By label value, ascending.
    lacking : dict of int to tuple of int
        For labels that not all atlases have: the places, counted from 0, of those without.
    """

    names: dict[int, str]
    colours: dict[int, Colour]
    lacking: dict[int, tuple[int, ...]]


def match_labels(atlases: Sequence[Atlas], titles: Sequence[str]) -> LabelTable:
    """Bring the labels of several atlases together.

    Parameters
    ----------
    atlases : sequence of Atlas
        In the order in which their names and colours are preferred.
    titles : sequence of str
        What each is called in errors.

    Raises
    ------
    InputError
        If two atlases give one value different names: what one calls the liver must not be voted into the spleen.
    """
    names: dict[int, str] = {}
    givers: dict[int, str] = {}
    colours: dict[int, Colour] = {}
    for atlas, title in zip(atlases, titles, strict=True):
        for value, name in _given_names(atlas.names).items():
            if _plain(names.get(value, name)) != _plain(name):
                raise InputError(
                    f"{title}: calls label {value} {name!r}, {givers[value]} calls it {names[value]!r}; atlases "
                    "used together need the same label values, or one --label-names for all"
                )
            names.setdefault(value, name)
            givers.setdefault(value, title)
        for value, colour in atlas.colours.items():
            colours.setdefault(value, colour)
    values = sorted(colours)
    lacking = {v: tuple(n for n, atlas in enumerate(atlases) if v not in atlas.names) for v in values}
    return LabelTable(
        {v: names.get(v, f"label {v}") for v in values},
        {v: colours[v] for v in values},
        {v: places for v, places in lacking.items() if places},
    )


def _given_names(names: Mapping[int, str]) -> dict[int, str]:
    """Names that somebody gave, not those that stand for "none"."""
    return {value: name for value, name in names.items() if name != f"label {value}"}


def _plain(name: str) -> str:
    """A name as it is compared: letters and digits, whatever their case."""
    return "".join(c for c in name.casefold() if c.isalnum())
