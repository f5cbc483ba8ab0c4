"""Peer: ConvexAdam (Siebert et al., TMI 44 (2025)), through the package of that name.

"ConvexAdam: self-configuring dual-optimization-based 3D multitask medical image registration": a convex search over
discrete displacements of MIND features, refined by Adam. It does no linear registration: ours comes first.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from atlassegfm.errors import MissingExtraError, RegistrationError
from atlassegfm.registration import builtin
from atlassegfm.registration.copies import scaled_copy, working_spacing
from atlassegfm.registration.measures import folding_percent
from atlassegfm.registration.options import ConvexAdamOptions
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.registration.transform import Displacement, Transform
from atlassegfm.resampling import resample_image
from atlassegfm.volume import Volume

#: Voxels between two nodes of the search, the package's default.
NODE_VOXELS = 6
#: Fewest nodes along an edge: with a single one the package divides by zero.
FEWEST_NODES = 3
STEP = "ConvexAdam"


def register(
    fixed: Volume, moving: Volume, settings: Settings, *, spacing_mm: float | None = None
) -> RegistrationResult:
    """Own rigid and affine from any start, then ConvexAdam.

    Parameters
    ----------
    fixed, moving : Volume
        Images with raw intensities.
    settings : Settings
        Device and progress; options as in `ConvexAdamOptions`. Nothing here is random, but on a GPU PyTorch adds up in
        any order, and the last digits differ from run to run.
    spacing_mm : float, optional
        Voxel size of ConvexAdam's isotropic working copies; default: as in the built-in method.

    Returns
    -------
    RegistrationResult
        Displacement on the working grid of `fixed`, followed by the affine matrix.

    Raises
    ------
    MissingExtraError
        If convexAdam is not installed.
    RegistrationError
        If no alignment was found or ConvexAdam gives up.
    """
    search = _load()
    options = ConvexAdamOptions(**settings.options)
    start = builtin.affine(fixed, moving, replace(settings, options={}))  # the options are ConvexAdam's
    began = time.perf_counter()
    settings.progress(STEP, 0.0)
    spacing = spacing_mm or working_spacing(fixed, moving)
    still, image = (scaled_copy(volume, spacing) for volume in (fixed, moving))
    # The package knows two arrays with the same axes and no world.
    aligned = resample_image(image, still.grid, start.transform)
    found = _displacement(search, still.data, aligned.data, options, settings.device)
    vectors = found @ still.affine[:3, :3].T  # from voxels along the array's axes to mm along the world's
    field = Displacement(still.grid, np.ascontiguousarray(vectors, dtype=np.float32))
    settings.progress(STEP, 1.0)
    facts = start.metrics | {"working_spacing_mm": spacing, "folding_percent": folding_percent(field)}
    seconds = start.seconds | {STEP: time.perf_counter() - began}
    return RegistrationResult(Transform((field, *start.transform.stages)), facts, seconds, list(start.warnings))


def _load() -> Callable[..., np.ndarray]:
    try:
        with warnings.catch_warnings():  # to import the package turns off all warnings of the process
            from convexAdam.convex_adam_MIND import convex_adam_pt
    except ImportError as error:
        raise MissingExtraError("registration convexadam", "convexAdam", "convexadam") from error
    return convex_adam_pt


def _displacement(
    search: Callable[..., np.ndarray], fixed: np.ndarray, moving: np.ndarray, options: ConvexAdamOptions, device: str
) -> np.ndarray:
    """Displacement u (I, J, K, 3) in voxels along the array's axes: `fixed` at x looks like `moving` at x + u(x)."""
    # The package stretches what it finds on its coarse grids over the image. That is right where their cells cover it
    # without a rest, so that the images are made to fit; the default on a GPU are 16-bit floats.
    padding = [(0, max(FEWEST_NODES, -(-n // NODE_VOXELS)) * NODE_VOXELS - n) for n in fixed.shape]
    images = [torch.as_tensor(np.pad(array, padding, mode="edge")) for array in (fixed, moving)]
    try:
        # It draws random numbers that it does not use: those of everybody else stay as they are.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = search(
                *images,
                lambda_weight=options.smoothness,
                grid_sp=NODE_VOXELS,
                selected_niter=options.iterations,
                dtype=torch.float32,
                device=torch.device(device),
            )
    except RuntimeError as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise RegistrationError(f"ConvexAdam failed ({reason}); try --registration default") from error
    if not np.isfinite(found).all():
        raise RegistrationError("ConvexAdam found no finite displacement; try --registration default")
    return found[tuple(slice(0, n) for n in fixed.shape)]
