"""Peer: picsl-greedy (Yushkevich et al., github.com/pyushkevich/greedy), in memory through its Python binding.

Its core is under the GPL-3: it is an optional extra, imported when asked for and never copied from.
"""

from __future__ import annotations

import io
import time
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from atlassegfm.errors import MissingExtraError, RegistrationError
from atlassegfm.quiet import STDOUT, silenced
from atlassegfm.registration.copies import scaled_copy, working_spacing
from atlassegfm.registration.itk import displacement_from_itk, upright_image, volume_to_itk
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.registration.transform import Affine, Transform
from atlassegfm.runtime import available_cores
from atlassegfm.volume import Volume

#: Steps per resolution level, coarse to fine.
ITERATIONS = "100x50x10"
#: Half widths of the correlation window in voxels.
RADIUS = "2x2x2"
#: What greedy calls its objects in memory -> the options that make them. One thread and a seed for the linear steps:
#: their sums over threads come in any order, and the same seed would not give the same matrix. The deformable step
#: does not depend on the threads. "-wp 0" keeps the warp from being rounded to a tenth of a voxel.
STAGES = {
    "rigid": f"-a -dof 6 -ia-image-centers -m NMI -n {ITERATIONS} -threads 1",
    "affine": f"-a -dof 12 -ia rigid -m NCC {RADIUS} -n {ITERATIONS} -threads 1",
    "deformable": f"-it affine -m NCC {RADIUS} -n {ITERATIONS} -wp 0 -threads {{threads}}",
}


def register(
    fixed: Volume, moving: Volume, settings: Settings, *, spacing_mm: float | None = None
) -> RegistrationResult:
    """Rigid (NMI, from the image centres), affine (NCC), deformable (NCC) by greedy.

    Parameters
    ----------
    fixed, moving : Volume
        Images with raw intensities.
    settings : Settings
        Seed and progress. Greedy runs on the CPU.
    spacing_mm : float, optional
        Voxel size of the isotropic working copies; default: as in the built-in method.

    Returns
    -------
    RegistrationResult
        Displacement on the working grid of `fixed`, followed by the affine matrix.

    Raises
    ------
    MissingExtraError
        If picsl-greedy is not installed.
    RegistrationError
        If greedy gives up.
    """
    greedy = _load()
    spacing = spacing_mm or working_spacing(fixed, moving)
    seconds = _run_stages(greedy, fixed, moving, settings, spacing)
    matrix, warp = np.asarray(greedy["affine"], dtype=np.float64), greedy["deformable"]
    if not np.isfinite(matrix).all():
        raise RegistrationError("greedy found no affine alignment of atlas and query; try --registration default")
    # Greedy's matrices are in RAS, its warps in LPS. Both map fixed to moving points, the warp before the matrix.
    transform = Transform((displacement_from_itk(warp), Affine(matrix)))
    return RegistrationResult(transform, {"working_spacing_mm": spacing, **_similarities(greedy)}, seconds)


def _run_stages(
    greedy: Any,  # noqa: ANN401
    fixed: Volume,
    moving: Volume,
    settings: Settings,
    spacing: float,
) -> dict[str, float]:
    """Run all `STAGES`, whose results stay in the object; wall seconds per stage."""
    images = {
        name: volume_to_itk(upright_image(scaled_copy(image, spacing)))
        for name, image in (("fixed", fixed), ("moving", moving))
    }
    seconds: dict[str, float] = {}
    for number, (stage, options) in enumerate(STAGES.items()):
        settings.progress(f"greedy: {stage}", number / len(STAGES))
        start = time.perf_counter()
        _execute(greedy, stage, options, settings.seed, images)
        seconds[stage] = time.perf_counter() - start
    settings.progress(f"greedy: {stage}", 1.0)
    return seconds


def _load() -> Any:  # noqa: ANN401
    try:
        from picsl_greedy import Greedy3D
    except ImportError as error:
        raise MissingExtraError("registration greedy", "picsl-greedy", "greedy") from error
    return Greedy3D()


def _execute(greedy: Any, stage: str, options: str, seed: int, images: dict[str, sitk.Image]) -> None:  # noqa: ANN401
    # Seed 0 would mean "another one each time".
    fitted = options.format(threads=available_cores())
    command = f"-i fixed moving {fitted} -seed {seed % (2**31 - 2) + 1} -V 0 -o {stage}"
    text = io.StringIO()
    try:
        with silenced(STDOUT):
            greedy.execute(command, out=text, err=text, **images, **{stage: None})
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else "no reason given"
        raise RegistrationError(f"greedy failed in its {stage} step ({reason}); try --registration default") from error


def _similarities(greedy: Any) -> dict[str, float]:  # noqa: ANN401
    """NCC that greedy saw at the first and the last step of its finest deformable level."""
    log = greedy.metric_log()
    values = np.ravel(log[-1]["TotalPerPixelMetric"]) if log else np.zeros(0)
    return {"ncc_before": float(values[0]), "ncc_after": float(values[-1])} if values.size else {}
