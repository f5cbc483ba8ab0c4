"""One registration for its own sake: run it, measure it, write what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from atlassegfm.errors import RegistrationError
from atlassegfm.io import file_sha256, write_image, write_labels
from atlassegfm.registration.files import write_transform
from atlassegfm.registration.measures import determinants, measure
from atlassegfm.registration.registry import register
from atlassegfm.registration.result import Settings
from atlassegfm.registration.transform import Transform
from atlassegfm.report.json_report import SCHEMA, file_facts, plain, versions
from atlassegfm.resampling import resample_image, warp_labels
from atlassegfm.volume import Volume

#: Where the backward transform of the inverse consistency comes from.
NUMERICAL, INDEPENDENT = "numerical inverse", "reverse registration"


@dataclass(frozen=True, eq=False)
class Aligned:
    """Two scans, the transform between them, and what is known about it.

    Parameters
    ----------
    fixed, moving : Volume
        The scans as read.
    labels : Volume or None
        Labels of the moving scan.
    transform, inverse : Transform
        Fixed to moving and, its numerical inverse, moving to fixed.
    measures, metrics : dict
        Measured in the same way for all methods; the method's own.
    warnings : list of str
        What the user should know.
    """

    fixed: Volume
    moving: Volume
    labels: Volume | None
    transform: Transform
    inverse: Transform
    measures: dict[str, Any]
    metrics: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


def align(
    fixed: Volume, moving: Volume, labels: Volume | None, method: str, settings: Settings, *, reverse: bool = False
) -> Aligned:
    """Register two scans and measure how well it went.

    Parameters
    ----------
    fixed, moving : Volume
        Images with raw intensities.
    labels : Volume or None
        Labels of the moving scan.
    method : str
        A name out of `registry.METHODS`.
    settings : Settings
        How to run it.
    reverse : bool
        Also register the other way round, and measure the inverse consistency of the two; else it is that of the
        numerical inverse, which tells of folds only.
    """
    result = register(fixed, moving, method, settings)
    warnings = list(result.warnings)
    backward = _reversed(fixed, moving, method, settings, warnings) if reverse else None
    settings.progress("measure", 0.0)
    inverse = result.transform.inverse()
    measures = measure(fixed, moving, result.transform, backward or inverse)
    measures["inverse_from"] = INDEPENDENT if backward else NUMERICAL
    return Aligned(fixed, moving, labels, result.transform, inverse, measures, result.metrics, warnings)


def _reversed(fixed: Volume, moving: Volume, method: str, settings: Settings, warnings: list[str]) -> Transform | None:
    """The transform of the reverse registration; one that fails is a warning."""
    told = replace(
        settings,
        progress=lambda step, fraction: settings.progress(f"reverse: {step}", fraction),
        focus=settings.focus and settings.focus.exchanged(),
    )
    try:
        result = register(moving, fixed, method, told)
    except RegistrationError as error:
        warnings.append(f"reverse registration: {error}")
        return None
    warnings += [f"reverse registration: {warning}" for warning in result.warnings]
    return result.transform


def jacobian_map(transform: Transform, fixed: Volume) -> Volume:
    """Volume change of the whole transform on the fixed grid: above 1 where the moving scan is the larger one."""
    found, _ = determinants(transform, fixed.with_data(np.ones(fixed.grid.shape, dtype=bool)))
    if found.grid is fixed.grid:
        return found
    # Beyond its grid a field is constant, which leaves the linear part.
    return resample_image(found, fixed.grid, fill=float(np.linalg.det(transform.matrix[:3, :3])))


def write_files(folder: Path, name: str, aligned: Aligned, *, jacobian: bool = False) -> list[Path]:
    """Write warped image and labels, the transform and its inverse and, on request, the Jacobian map.

    Parameters
    ----------
    folder : Path
        An existing folder.
    name : str
        Start of the file names.
    aligned : Aligned
        What to write.
    jacobian : bool
        Whether to write the Jacobian map.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    fixed, labels = aligned.fixed, aligned.labels
    paths = [folder / f"{name}_warped.nii.gz"]
    write_image(paths[0], resample_image(aligned.moving, fixed.grid, aligned.transform), like=fixed)
    if labels is not None:
        paths.append(folder / f"{name}_warped_labels.nii.gz")
        warped = warp_labels(labels, fixed.grid, aligned.transform)
        write_labels(paths[-1], warped, fixed, labels.meta.get("label_names"))
    if jacobian:
        paths.append(folder / f"{name}_jacobian.nii.gz")
        write_image(paths[-1], jacobian_map(aligned.transform, fixed), like=fixed)
    paths += write_transform(aligned.transform, folder, name, domain=fixed.grid)
    return paths + write_transform(aligned.inverse, folder, f"{name}_inverse", domain=aligned.moving.grid)


def build_report(
    aligned: Aligned,
    inputs: Mapping[str, Path | Mapping[str, str]],
    outputs: Iterable[Path],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything that is known about a registration, JSON-ready; ``timings`` alone may differ between equal runs.

    Parameters
    ----------
    aligned : Aligned
        The registration.
    inputs : mapping
        Role to file, or to what is known of it.
    outputs : iterable of Path
        The files made of it.
    more : mapping
        Parameters and timings.
    """
    return plain(
        {
            "schema": SCHEMA,
            "program": "atlassegfm",
            "inputs": file_facts(inputs),
            "outputs": {path.name: file_sha256(path) for path in outputs},
            "measures": aligned.measures,
            "metrics": aligned.metrics,
            "warnings": aligned.warnings,
            **more,
            "versions": versions(),
        }
    )
