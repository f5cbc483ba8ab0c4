"""Peer: ANTs (Avants et al., "Symmetric diffeomorphic image registration with cross-correlation", MedIA 12 (2008)).

Through the package antspyx, whose registration leaves its warps in the temporary folder: here they go into a folder of
their own, which is deleted.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from atlassegfm.errors import MissingExtraError, RegistrationError
from atlassegfm.quiet import STDOUT, silenced
from atlassegfm.registration.copies import scaled_copy, working_spacing
from atlassegfm.registration.files import read_transform
from atlassegfm.registration.itk import LPS, upright_image
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.registration.transform import Transform
from atlassegfm.volume import Volume

_THREADS = "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"


def syn(fixed: Volume, moving: Volume, settings: Settings, *, spacing_mm: float | None = None) -> RegistrationResult:
    """Affine, then SyN, both on mutual information: ``ants.registration(..., "SyN")``; "SyN+A" in the paper's Table 7.

    Parameters
    ----------
    fixed, moving : Volume
        Images with raw intensities.
    settings : Settings
        Seed and progress. ANTs runs on the CPU, here on one core: its sums over threads come in any order, and the same
        seed would not give the same bytes. Who sets ``ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS`` has that many threads.
    spacing_mm : float, optional
        Voxel size of the isotropic working copies; default: as in the built-in method.

    Returns
    -------
    RegistrationResult
        Displacement on the working grid of `fixed`, followed by the affine matrix.

    Raises
    ------
    MissingExtraError
        If antspyx is not installed.
    RegistrationError
        If ANTs gives up.
    """
    return _register(fixed, moving, settings, "SyN", spacing_mm)


def syn_rigid_affine(
    fixed: Volume, moving: Volume, settings: Settings, *, spacing_mm: float | None = None
) -> RegistrationResult:
    """Rigid, affine, then SyN ("SyN+RA" in the paper's Table 7); see `syn`."""
    return _register(fixed, moving, settings, "SyNRA", spacing_mm)


def syn_only(
    fixed: Volume, moving: Volume, settings: Settings, *, spacing_mm: float | None = None
) -> RegistrationResult:
    """SyN from the positions in the headers ("SyN-only" in the paper's Table 7); see `syn`."""
    return _register(fixed, moving, settings, "SyNOnly", spacing_mm)


def _register(
    fixed: Volume, moving: Volume, settings: Settings, kind: str, spacing_mm: float | None
) -> RegistrationResult:
    with one_thread():
        ants = _load()
    spacing = spacing_mm or working_spacing(fixed, moving)
    step = f"ANTs: {kind}"
    settings.progress(step, 0.0)
    start = time.perf_counter()
    copies = [upright_image(scaled_copy(image, spacing)) for image in (fixed, moving)]
    with tempfile.TemporaryDirectory(prefix="atlassegfm_ants_") as folder:
        try:
            with one_thread(), _seeded(ants, settings.seed), silenced(STDOUT):
                images = [_to_ants(ants, copy) for copy in copies]
                done = ants.registration(*images, type_of_transform=kind, outprefix=str(Path(folder) / "ants_"))
        except RuntimeError as error:
            raise RegistrationError(f"ANTs {kind} failed ({error}); try --registration default") from error
        # A fixed point passes the files in this order, the warp before the affine.
        stages = [stage for file in done["fwdtransforms"] for stage in read_transform(file).stages]
    settings.progress(step, 1.0)
    facts = {"working_spacing_mm": spacing}
    return RegistrationResult(Transform(tuple(stages)), facts, {kind: time.perf_counter() - start})


def _load() -> Any:  # noqa: ANN401
    try:
        import ants
    except ImportError as error:
        raise MissingExtraError("registration ants-syn", "antspyx", "ants") from error
    return ants


def _to_ants(ants: Any, volume: Volume) -> Any:  # noqa: ANN401
    affine = LPS @ volume.affine
    return ants.from_numpy(
        np.ascontiguousarray(volume.data, dtype=np.float32),
        origin=affine[:3, 3].tolist(),
        spacing=volume.spacing.tolist(),
        direction=affine[:3, :3] / volume.spacing,
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for an ITK that is first used in this block, unless the user has chosen; children keep theirs."""
    if _THREADS in os.environ:
        yield
        return
    os.environ[_THREADS] = "1"
    try:
        yield
    finally:
        del os.environ[_THREADS]


@contextmanager
def _seeded(ants: Any, seed: int) -> Iterator[None]:  # noqa: ANN401
    """ANTs' sampling follows `seed`; the package keeps it in a global, which is put back."""
    before = getattr(ants.config, "_random_seed", None)
    ants.config._random_seed = seed % (2**31 - 2) + 1  # 0 would mean the time of day
    try:
        yield
    finally:
        ants.config._random_seed = before
