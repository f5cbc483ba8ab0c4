"""The JSON twin of what a run tells its user: inputs with hashes, versions, parameters, results, outputs."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atlassegfm.io import file_sha256

if TYPE_CHECKING:
    from atlassegfm.atlas import Atlas
    from atlassegfm.segmentation import Segmentation
    from atlassegfm.volume import Volume

#: Version of the report's layout; rises when a key changes its meaning or goes.
SCHEMA = 1
#: Packages whose version can change the result.
_PACKAGES = (
    "atlassegfm",
    "connected-components-3d",
    "highdicom",
    "nibabel",
    "numpy",
    "pydicom",
    "scikit-learn",
    "scipy",
    "SimpleITK",
    "torch",
)


def build_report(
    segmentation: Segmentation, inputs: Mapping[str, Path | Mapping[str, str]], outputs: Mapping[str, Path]
) -> dict[str, Any]:
    """Put together the report of one query.

    Names of files and hashes of their content stand for the files; folders are left out, because they differ between
    machines and may name patients or users. The only part that differs between two equal runs is ``timings``.

    Parameters
    ----------
    segmentation : Segmentation
        Its `report` goes in as it is.
    inputs, outputs : mapping of str to Path
        Role (such as "query") to file, which has to exist; of inputs also to what `source_facts` gave.

    Returns
    -------
    dict
        Made of JSON types only.
    """
    head = {"schema": SCHEMA, "program": "atlassegfm", "inputs": file_facts(inputs), "outputs": file_facts(outputs)}
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


def file_facts(files: Mapping[str, Path | Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """Per role the name of a file and the hash of its content; what is known already stays as it is."""
    return {
        role: {"file": file.name, "sha256": file_sha256(file)} if isinstance(file, Path) else dict(file)
        for role, file in files.items()
    }


def atlas_sources(files: Sequence[tuple[Path, Path]], atlases: Sequence[Atlas]) -> dict[str, Path | Mapping[str, str]]:
    """Per role what a report may say about the files of the atlas, or of the atlases, which are numbered from 1."""
    found = {}
    for number, ((image, labels), atlas) in enumerate(zip(files, atlases, strict=True), 1):
        role = "atlas" if len(files) == 1 else f"atlas_{number}"
        found[f"{role}_image"] = source_facts(image, atlas.image)
        found[f"{role}_labels"] = source_facts(labels, atlas.labels)
    return found


def source_facts(path: Path, volume: Volume | None) -> Path | Mapping[str, str]:
    """What a report may say about an input: of a file its path, of DICOM a name and a hash that tell no patient."""
    return path if volume is None else volume.meta.get("source", path)
