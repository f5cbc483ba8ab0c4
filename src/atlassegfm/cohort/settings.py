"""What is done with every query of a cohort, and the key that stands for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from atlassegfm.cohort.queries import Query
from atlassegfm.content import code_digest, path_digest, settings_key
from atlassegfm.models.registry import model_info
from atlassegfm.models.weights import used_digest
from atlassegfm.report.outputs import Layout


@dataclass(frozen=True)
class CohortSettings:
    """The same for all queries.

    Parameters
    ----------
    atlas, labels : Path
        The labelled scan; queries may have their own.
    choices : mapping
        Of `Atlas.load`: names, only, rois, series.
    options : mapping
        Of `pipeline.segment`.
    formats : tuple of str
        What is written.
    layout : Layout
        How it is called.
    more_atlases : tuple of (Path, Path)
        Image and labels of further atlases.
    """

    atlas: Path
    labels: Path
    choices: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    formats: tuple[str, ...] = ("nifti",)
    layout: Layout = field(default_factory=Layout)
    more_atlases: tuple[tuple[Path, Path], ...] = ()

    @property
    def atlases(self) -> tuple[tuple[Path, Path], ...]:
        """Image and labels of all atlases of the cohort."""
        return (self.atlas, self.labels), *self.more_atlases

    def atlases_of(self, query: Query) -> tuple[tuple[Path, Path], ...]:
        """Image and labels of each atlas that serves a query."""
        return self.atlases if query.atlas is None else ((query.atlas, query.labels),)


class Keys:
    """The key of each query's settings; each atlas is read once for it.

    Parameters
    ----------
    settings : CohortSettings
        Common to all.
    """

    def __init__(self, settings: CohortSettings) -> None:
        self._settings = settings
        names = settings.choices.get("names")
        is_file = isinstance(names, str | Path) and Path(names).is_file()
        self._common = {
            "code": code_digest(),
            "choices": {key: str(value) for key, value in settings.choices.items() if key != "names"},
            "names": path_digest(Path(names)) if is_file else str(names),
            "options": {key: str(value) for key, value in settings.options.items()},
            "formats": list(settings.formats),
            "weights": used_digest(model_info(settings.options.get("model", "none")), settings.options.get("weights")),
        }
        self._digests: dict[Path, str] = {}

    def of(self, query: Query) -> str:
        """Key of everything that decides a query's result, but for the query itself."""
        atlas = [self._digest(path) for pair in self._settings.atlases_of(query) for path in pair]
        return settings_key({**self._common, "atlas": atlas, "series": query.series})

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = path_digest(path)
        return self._digests[path]
