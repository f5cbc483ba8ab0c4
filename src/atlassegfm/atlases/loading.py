"""Read one atlas or several, with the labels that are wanted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from atlassegfm.atlas import Atlas
from atlassegfm.atlases.files import Files
from atlassegfm.atlases.matching import match_labels
from atlassegfm.errors import InputError
from atlassegfm.label_names import pick


def load_atlases(
    files: Sequence[Files],
    *,
    only: Iterable[int] | None = None,
    rois: Sequence[str] | None = None,
    **choices: Any,  # noqa: ANN401 - those of `Atlas.load`
) -> list[Atlas]:
    """Read atlases; of several, each keeps those of the wanted labels that it has.

    Parameters
    ----------
    files : sequence of (Path, Path)
        Image and label map of each.
    only, rois
        Wanted labels by value or by name; all if None.
    choices
        The others of `Atlas.load`.

    Raises
    ------
    InputError, GeometryError
        If a file cannot be used, two atlases call one label by different names, a wanted label is in none of them, or
        one of them has no wanted label.
    """
    if len(files) == 1:
        return [Atlas.load(*files[0], only=only, rois=rois, **choices)]
    atlases = [Atlas.load(*pair, **choices) for pair in files]
    titles = [str(labels) for _, labels in files]
    names = match_labels(atlases, titles).names
    if only is not None and rois is not None:
        raise InputError("atlases: labels are chosen by value or by name, not by both; leave one of them out")
    if only is None and rois is None:
        return atlases
    wanted = pick(names, rois, "the atlases") if only is None else sorted({int(value) for value in only})
    unknown = [value for value in wanted if value not in names]
    if unknown or not wanted:
        got = f"label values {', '.join(map(str, unknown))}, which none of the atlases has" if unknown else "no label"
        raise InputError(f"atlases: asked for {got}; they have {', '.join(map(str, names))}")
    return [_restricted(atlas, wanted, title) for atlas, title in zip(atlases, titles, strict=True)]


def _restricted(atlas: Atlas, wanted: Sequence[int], title: str) -> Atlas:
    """The atlas with the wanted labels alone."""
    kept = [value for value in wanted if value in atlas.names]
    if not kept:
        raise InputError(f"{title}: has none of the labels {', '.join(map(str, wanted))}; leave this atlas out")
    if kept == atlas.values:
        return atlas
    return replace(atlas, labels=atlas.labels.keeping(kept))
