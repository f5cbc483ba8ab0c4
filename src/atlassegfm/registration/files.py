"""Transforms to files that ITK, Slicer and ANTs read, and back.

ANTs takes its list of ``-t`` files in the order in which a point passes them, which is the order of our file names.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import SimpleITK as sitk  # noqa: N813

from atlassegfm.errors import InputError
from atlassegfm.io import atomic_path
from atlassegfm.io.files import CHUNK_BYTES, open_stream, read_errors
from atlassegfm.quiet import STDERR, silenced
from atlassegfm.registration.hdf5 import erase_times
from atlassegfm.registration.itk import (
    affine_to_itk,
    displacement_from_itk,
    displacement_to_itk,
    from_itk,
    merged,
    reaching,
    to_itk,
    unsheared,
)
from atlassegfm.registration.transform import Affine, Displacement, Transform
from atlassegfm.volume import Grid

T = TypeVar("T")

TRANSFORM_SUFFIXES = (".h5", ".hdf5", ".hdf", ".mat", ".tfm", ".txt")
TEXT_SUFFIXES = (".tfm", ".txt")
FIELD_SUFFIXES = (".nii.gz", ".nii")


def write_transform(
    transform: Transform, out_dir: str | Path, prefix: str, *, domain: Grid | None = None
) -> list[Path]:
    """Write a transform as one ITK composite and as one file per stage.

    Parameters
    ----------
    transform : Transform
        What to write.
    out_dir : str or Path
        An existing folder.
    prefix : str
        Start of the file names.
    domain : Grid, optional
        Grid of the image on which the files will be used; without it ITK and ours differ beyond the fields' grids.

    Returns
    -------
    list of Path
        ``PREFIX.h5`` (composite: SimpleITK, Slicer, ``antsApplyTransforms -t``), then ``PREFIX_1_warp.nii.gz``,
        ``PREFIX_2_affine.mat`` and so on: for ANTs, one ``-t`` each, in this order.

    Raises
    ------
    InputError
        If a file cannot be written.
    """
    if not prefix or Path(prefix).name != prefix:
        raise InputError(f"expected a file name prefix without folders, got {prefix!r}")
    if domain is not None:
        transform = reaching(transform, domain)
    stages = merged(transform.stages)
    paths = [Path(out_dir) / f"{prefix}.h5"]
    with atomic_path(paths[0]) as temporary:
        _run(paths[0], "write", lambda: sitk.WriteTransform(to_itk(transform), str(temporary)))
        erase_times(temporary)
    for number, stage in enumerate(stages, start=1):
        ending = "affine.mat" if isinstance(stage, Affine) else "warp.nii.gz"
        paths.append(Path(out_dir) / f"{prefix}_{number}_{ending}")
        with atomic_path(paths[-1]) as temporary:
            _write_stage(stage, paths[-1], temporary)
    return paths


def _write_stage(stage: Affine | Displacement, path: Path, temporary: Path) -> None:
    if isinstance(stage, Affine):
        itk = affine_to_itk(stage)
        _run(path, "write", lambda: sitk.WriteTransform(itk, str(temporary)))
    else:
        # Vector images get NIfTI intent 1007, whose components ITK and ANTs leave as they are: LPS.
        image = displacement_to_itk(unsheared(stage), np.float32)
        _run(path, "write", lambda: sitk.WriteImage(image, str(temporary), True))


def read_transform(path: str | Path) -> Transform:
    """Read an ITK transform file (.h5, .mat, .tfm, .txt) or a displacement field (.nii.gz, .nii).

    Parameters
    ----------
    path : str or Path
        A file by us, ITK, Slicer or ANTs; linear transforms, displacement fields and composites of them.

    Returns
    -------
    Transform
        On world points in RAS+ mm.

    Raises
    ------
    InputError
        If the file is missing, of another kind, damaged or cannot be inverted.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such transform file; check the path")
    name = path.name.lower()
    if name.endswith(FIELD_SUFFIXES):
        image = _read_field(path)
        return _named(path, lambda: Transform((displacement_from_itk(image),)))
    if not name.endswith(TRANSFORM_SUFFIXES):
        raise InputError(
            f"{path}: expected a transform file ({', '.join((*TRANSFORM_SUFFIXES, *FIELD_SUFFIXES))}), got {name!r}"
        )
    itk = _read_matrices(path)
    transform = _named(path, lambda: from_itk(itk))
    for stage in transform.stages:
        if isinstance(stage, Affine) and not abs(np.linalg.det(stage.matrix)) > 1e-9:
            raise InputError(f"{path}: its affine matrix cannot be inverted; export it again")
    return transform


def _read_field(path: Path) -> sitk.Image:
    """Vector image of a NIfTI file that is whole: SimpleITK fills up a missing end without a word."""
    with read_errors(path), open_stream(path) as stream:
        found = 0
        while chunk := stream.read(CHUNK_BYTES):
            found += len(chunk)
    image = _run(path, "read", lambda: sitk.ReadImage(str(path)))
    needed = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel() * image.GetSizeOfPixelComponent()
    if found < needed:
        raise InputError(
            f"{path}: expected {needed} bytes of displacements, got {found} (truncated file); copy it again"
        )
    return image


def _read_matrices(path: Path) -> sitk.Transform:
    """Any other transform file; a text file cut short would be read as the identity."""
    transform = _run(path, "read", lambda: sitk.ReadTransform(str(path)))
    if path.suffix.lower() in TEXT_SUFFIXES:
        text = path.read_text(encoding="utf-8", errors="replace")
        parts = len(re.findall(r"^Transform:(?!.*Composite)", text, re.MULTILINE))
        ends = len(re.findall(r"^FixedParameters:", text, re.MULTILINE))
        if parts != ends:
            raise InputError(
                f"{path}: expected {parts} complete transforms, got {ends} (truncated file); copy it again"
            )
    return transform


def _named(path: Path, step: Callable[[], T]) -> T:
    """Put the file's name in front of an error about its content."""
    try:
        return step()
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _run(path: Path, verb: str, step: Callable[[], T]) -> T:
    """Call SimpleITK quietly; its errors of many lines become one."""
    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        with silenced(STDERR):  # HDF5 prints its own stack
            return step()
    except RuntimeError as error:
        reason = re.sub(r"\s+", " ", str(error).strip().splitlines()[-1]).strip()
        raise InputError(f"{path}: SimpleITK cannot {verb} it ({reason})") from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
