"""The JSON twin of what a run tells its user: inputs with hashes, versions, parameters, results, outputs."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlassegfm.io import file_sha256

if TYPE_CHECKING:
    from atlassegfm.pipeline import Segmentation

#: Version of the report's layout; rises when a key changes its meaning or goes.
SCHEMA = 1
#: Packages whose version can change the result.
_PACKAGES = (
    "atlassegfm",
    "connected-components-3d",
    "nibabel",
    "numpy",
    "scikit-learn",
    "scipy",
    "SimpleITK",
    "torch",
)


def build_report(segmentation: Segmentation, inputs: Mapping[str, Path], outputs: Mapping[str, Path]) -> dict[str, Any]:
    """Put together the report of one query.

    Names of files and hashes of their content stand for the files; folders are left out, because they differ between
    machines and may name patients or users. The only part that differs between two equal runs is ``timings``.

    Parameters
    ----------
    segmentation : Segmentation
        Its `report` goes in as it is.
    inputs, outputs : mapping of str to Path
        Role (such as "query") to file; all have to exist.

    Returns
    -------
    dict
        Made of JSON types only.
    """
    head = {"schema": SCHEMA, "program": "atlassegfm", "inputs": _files(inputs), "outputs": _files(outputs)}
    body = {key: value for key, value in segmentation.report.items() if key not in head}
    return plain({**head, **body, "versions": versions()})


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def to_json(report: Mapping[str, Any]) -> str:
    """The text of a report, with a line end."""
    return json.dumps(plain(report), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def plain(value: object) -> Any:  # noqa: ANN401 - JSON has many types
    """The same content in JSON's own types; numbers that JSON cannot hold (NaN, infinity) become None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in (sorted(value) if isinstance(value, set | frozenset) else value)]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def _files(paths: Mapping[str, Path]) -> dict[str, dict[str, str]]:
    return {role: {"file": path.name, "sha256": file_sha256(path)} for role, path in paths.items()}
