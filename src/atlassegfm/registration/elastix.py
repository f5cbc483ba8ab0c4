"""Peer: elastix (Klein et al., "elastix: a toolbox for intensity-based medical image registration", TMI 29 (2010)).

Through the package itk-elastix. Its option ``number_of_threads`` crashes the process
(github.com/InsightSoftwareConsortium/ITKElastix, issues 160 and 295) and is left alone: elastix takes as many threads
as ``ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS`` says, or one per core.
"""

from __future__ import annotations

import re
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk  # noqa: N813

from atlassegfm.errors import MissingExtraError, RegistrationError
from atlassegfm.quiet import STDOUT, silenced
from atlassegfm.registration.copies import scaled_copy, working_spacing
from atlassegfm.registration.itk import LPS, affine_to_itk, displacement_from_itk, from_itk, upright_image
from atlassegfm.registration.measures import folding_percent
from atlassegfm.registration.options import ElastixOptions
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.registration.transform import Affine, Transform
from atlassegfm.volume import Grid, Volume

#: Parameter maps that come with elastix, in this order.
STAGES = ("rigid", "affine", "bspline")
#: Resolution levels of each.
RESOLUTIONS = 4
#: Voxels of the working copy between two nodes of the B-spline: the 10 mm of elastix' own map, on an abdomen.
NODE_VOXELS = 4
#: What ITK calls the transform that a stage has found, to the same class in SimpleITK.
_CLASSES = {
    "Euler3DTransform": sitk.Euler3DTransform,
    "AffineTransform": lambda: sitk.AffineTransform(3),
    "BSplineTransform": lambda: sitk.BSplineTransform(3, 3),
}


def register(
    fixed: Volume, moving: Volume, settings: Settings, *, spacing_mm: float | None = None
) -> RegistrationResult:
    """Rigid (from the image centres), affine and B-spline by elastix, all on mutual information.

    Parameters
    ----------
    fixed, moving : Volume
        Images with raw intensities.
    settings : Settings
        Seed and progress; options as in `ElastixOptions`. Elastix runs on the CPU.
    spacing_mm : float, optional
        Voxel size of the isotropic working copies; default: as in the built-in method.

    Returns
    -------
    RegistrationResult
        Displacement on the working grid of `fixed`, followed by the affine matrix.

    Raises
    ------
    MissingExtraError
        If itk-elastix is not installed.
    RegistrationError
        If elastix gives up.
    """
    itk = _load()
    spacing = spacing_mm or working_spacing(fixed, moving)
    options = ElastixOptions(**settings.options)
    options = replace(options, grid_spacing_mm=options.grid_spacing_mm or NODE_VOXELS * spacing)
    copies = [upright_image(scaled_copy(image, spacing)) for image in (fixed, moving)]
    images = [_to_itk(itk, copy) for copy in copies]
    chain, found, seconds = None, [], {}
    for number, stage in enumerate(STAGES):
        settings.progress(f"elastix: {stage}", number / len(STAGES))
        start = time.perf_counter()
        chain, newest = _run_stage(itk, images, _parameters(itk, stage, options, settings.seed), stage, chain)
        found.append(newest)
        seconds[stage] = time.perf_counter() - start
    transform = _as_ours(*found, copies[0].grid)
    settings.progress(f"elastix: {stage}", 1.0)
    facts = {"working_spacing_mm": spacing, "folding_percent": folding_percent(transform.stages[0])}
    return RegistrationResult(transform, facts, seconds)


def _load() -> Any:  # noqa: ANN401
    try:
        import itk

        # ITK alone has no elastix, and loads the parts of it that it has when they are first asked for.
        getattr(itk, "ElastixRegistrationMethod")  # noqa: B009
    except (ImportError, AttributeError) as error:
        raise MissingExtraError("registration elastix", "itk-elastix", "elastix") from error
    return itk


def _to_itk(itk: Any, volume: Volume) -> Any:  # noqa: ANN401
    affine = LPS @ volume.affine
    image = itk.image_from_array(np.ascontiguousarray(volume.data.transpose(2, 1, 0), dtype=np.float32))
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetSpacing(volume.spacing.tolist())
    image.SetDirection(itk.matrix_from_array(affine[:3, :3] / volume.spacing))
    return image


def _parameters(itk: Any, stage: str, options: ElastixOptions, seed: int) -> Any:  # noqa: ANN401
    """Elastix' own parameters of a stage, but for what the options say."""
    out = itk.ParameterObject.New()
    values = out.GetDefaultParameterMap(stage, RESOLUTIONS, options.grid_spacing_mm)
    if stage == "bspline":
        # Bending energy has the unit 1/mm^2. Its own weight of 1 at 10 mm left 19 % of an abdomen folded.
        values["Metric1Weight"] = [str(options.smoothness * options.grid_spacing_mm**2)]
    values["MaximumNumberOfIterations"] = [str(options.iterations)]
    values["RandomSeed"] = [str(seed % 2**31)]
    values["WriteResultImage"] = ["false"]
    # Elastix' own map trusts the headers; scans that these place apart would be lost.
    values["AutomaticTransformInitialization"] = ["true" if stage == "rigid" else "false"]
    out.AddParameterMap(values)
    return out


def _run_stage(
    itk: Any,  # noqa: ANN401
    images: list[Any],
    parameters: Any,  # noqa: ANN401
    stage: str,
    chain: Any,  # noqa: ANN401
) -> tuple[Any, sitk.Transform]:
    """Run a stage from where the last one ended: all transforms so far, for the next one, and the new one alone."""
    method = itk.ElastixRegistrationMethod[type(images[0]), type(images[1])].New()
    method.SetFixedImage(images[0])
    method.SetMovingImage(images[1])
    method.SetParameterObject(parameters)
    if chain is not None:
        method.SetInitialTransform(chain)
    with tempfile.TemporaryDirectory(prefix="atlassegfm_elastix_") as folder:
        # The exception says no more than that the log says why.
        method.SetOutputDirectory(folder)
        method.LogToFileOn()
        try:
            with silenced(STDOUT):
                method.UpdateLargestPossibleRegion()
        except RuntimeError as error:
            message = f"elastix failed in its {stage} step ({_reason(Path(folder))}); try --registration default"
            raise RegistrationError(message) from error
    newest = method.ConvertToItkTransform(method.GetNthTransform(0))  # counted from the one that is applied last
    return method.ConvertToItkTransform(method.GetCombinationTransform()), _to_sitk(newest)


def _reason(folder: Path) -> str:
    """The first error in the log, without ITK's name and address of the object."""
    text = "\n".join(path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("*.log")))
    found = re.search(r"Description: (?:ITK ERROR: )?(?:\w+\(0x[0-9a-f]+\): )?(.+)", text)
    return found.group(1).strip() if found else "no reason given"


def _to_sitk(transform: Any) -> sitk.Transform:  # noqa: ANN401
    """A transform of the package itk as SimpleITK's: the same class of ITK, in two libraries that cannot share one."""
    out = _CLASSES[transform.GetNameOfClass()]()
    out.SetFixedParameters(np.array(transform.GetFixedParameters()).tolist())
    out.SetParameters(np.array(transform.GetParameters()).tolist())
    return out


def _as_ours(rigid: sitk.Transform, affine: sitk.Transform, spline: sitk.Transform, grid: Grid) -> Transform:
    """Elastix' stages as a displacement on `grid`, which must not be sheared, and a matrix after it; RAS+ mm.

    Elastix moves a point x by the matrices (A) first and by the spline (S) then, to S(Ax). Ours has the matrix last,
    A(x + v(x)), which is the same with v(x) = A^-1 S(Ax) - x.
    """
    matrix = Affine(from_itk(sitk.CompositeTransform([affine, rigid])).matrix)  # ITK applies the last one first
    chain = sitk.CompositeTransform([affine_to_itk(matrix.inverse()), spline, affine_to_itk(matrix)])
    place = LPS @ grid.affine
    field = sitk.TransformToDisplacementField(
        chain,
        sitk.sitkVectorFloat64,
        grid.shape,
        place[:3, 3].tolist(),
        grid.spacing.tolist(),
        (place[:3, :3] / grid.spacing).ravel().tolist(),
    )
    return Transform((displacement_from_itk(field), matrix))
