"""Transforms to files that ITK, Slicer and ANTs read, and back.

World points are LPS in those files and RAS here: both the matrices and the displacement vectors are turned over. ITK
applies the transform of a composite that was added last first, so our stages go in from the last to the first. ANTs
takes its list of ``-t`` files in the order in which a point passes them, which is the order of our file names.
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
from atlassegfm.registration.hdf5 import erase_times
from atlassegfm.registration.transform import Affine, Displacement, Transform
from atlassegfm.volume import Grid, Volume

T = TypeVar("T")

#: Turns RAS+ mm to LPS+ mm and back.
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
TRANSFORM_SUFFIXES = (".h5", ".hdf5", ".hdf", ".mat", ".tfm", ".txt", ".xfm")
FIELD_SUFFIXES = (".nii.gz", ".nii", ".mha", ".nrrd")
#: ITK knows no sheared grids: columns whose cosine exceeds this are sheared.
SHEAR_TOLERANCE = 1e-5
#: Points per axis of the domain that are followed to see how far a field has to reach.
PROBES = 9


def volume_to_itk(volume: Volume) -> sitk.Image:
    """Copy of an image as a SimpleITK one (LPS); voxel type kept."""
    return _placed(sitk.GetImageFromArray(np.ascontiguousarray(volume.data.transpose(2, 1, 0))), volume.grid)


def displacement_to_itk(field: Displacement, pixel: type = np.float64) -> sitk.Image:
    """Vector image of a displacement field: LPS vectors on an LPS grid."""
    vectors = field.vectors * np.array([-1.0, -1.0, 1.0])
    data = np.ascontiguousarray(vectors.transpose(2, 1, 0, 3), dtype=pixel)
    return _placed(sitk.GetImageFromArray(data, isVector=True), field.grid)


def displacement_from_itk(image: sitk.Image) -> Displacement:
    """Displacement field of a vector image with LPS vectors on an LPS grid.

    Raises
    ------
    InputError
        If it is not a finite 3D field of 3 components.
    """
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 3:
        raise InputError(
            f"expected a 3D displacement field with 3 components per voxel, got {image.GetDimension()}D "
            f"with {image.GetNumberOfComponentsPerPixel()}"
        )
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    data = sitk.GetArrayViewFromImage(image).transpose(2, 1, 0, 3)
    vectors = np.array(data, dtype=np.float32, order="C")
    vectors[..., :2] *= -1.0
    if not np.isfinite(vectors).all():
        raise InputError("expected finite displacements, got NaN or infinity")
    return Displacement(Grid(image.GetSize(), LPS @ affine), vectors)


def _placed(image: sitk.Image, grid: Grid) -> sitk.Image:
    affine = LPS @ grid.affine
    image.SetSpacing(grid.spacing.tolist())
    image.SetDirection((affine[:3, :3] / grid.spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def to_itk(transform: Transform) -> sitk.CompositeTransform:
    """ITK composite of a transform: maps LPS points as `transform` maps the same points in RAS.

    Beyond the grid of a displacement field ITK moves nothing, whereas ours keeps its border value.
    """
    composite = sitk.CompositeTransform(3)
    for stage in reversed(_merged(transform.stages)):
        composite.AddTransform(_affine_to_itk(stage) if isinstance(stage, Affine) else _field_to_itk(stage))
    return composite


def from_itk(transform: sitk.Transform) -> Transform:
    """Transform of ours that does what an ITK one does.

    Raises
    ------
    InputError
        If it is neither linear, nor a displacement field, nor a composite of such.
    """
    if transform.GetDimension() != 3:
        raise InputError(f"expected a transform of 3D points, got {transform.GetDimension()}D")
    kind = transform.GetTransformEnum()
    if kind == sitk.sitkComposite:
        composite = sitk.CompositeTransform(transform)
        last_first = range(composite.GetNumberOfTransforms() - 1, -1, -1)
        stages = [s for n in last_first for s in from_itk(composite.GetNthTransform(n)).stages]
    elif kind == sitk.sitkDisplacementField:
        stages = [displacement_from_itk(sitk.DisplacementFieldTransform(transform).GetDisplacementField())]
    elif transform.IsLinear():
        stages = [Affine(_matrix_of(transform))]
    else:
        raise InputError(f"expected an affine or a displacement field, got a {transform.GetName()}")
    return Transform(tuple(stages))


def _matrix_of(transform: sitk.Transform) -> np.ndarray:
    """RAS matrix of any linear ITK transform, from what it does to four points."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    for axis in range(3):
        matrix[:3, axis] = np.array(transform.TransformPoint(np.eye(3)[axis].tolist())) - origin
    return LPS @ matrix @ LPS


def _affine_to_itk(stage: Affine) -> sitk.AffineTransform:
    matrix = LPS @ stage.matrix @ LPS
    out = sitk.AffineTransform(3)
    out.SetMatrix(matrix[:3, :3].ravel().tolist())
    out.SetTranslation(matrix[:3, 3].tolist())
    return out


def _field_to_itk(stage: Displacement) -> sitk.DisplacementFieldTransform:
    return sitk.DisplacementFieldTransform(displacement_to_itk(_unsheared(stage)))


def _merged(stages: tuple[Affine | Displacement, ...]) -> list[Affine | Displacement]:
    """Neighbouring affines multiplied into one; at least one stage."""
    out: list[Affine | Displacement] = []
    for stage in stages:
        if out and isinstance(stage, Affine) and isinstance(out[-1], Affine):
            out[-1] = Affine(stage.matrix @ out[-1].matrix)
        else:
            out.append(stage)
    return out or [Affine(np.eye(4))]


def _unsheared(field: Displacement) -> Displacement:
    """The field on a grid with orthogonal axes (a tilted CT gantry gives a sheared one, which ITK refuses)."""
    grid = field.grid
    axes = grid.affine[:3, :3] / grid.spacing
    if np.abs(axes.T @ axes - np.eye(3)).max() < SHEAR_TOLERANCE:
        return field
    upright, triangle = np.linalg.qr(axes)
    upright *= np.sign(np.diag(triangle))
    affine = np.eye(4)
    affine[:3, :3] = upright * grid.spacing
    corners = np.linalg.solve(affine[:3, :3], grid.corners.T).T
    affine[:3, 3] = affine[:3, :3] @ corners.min(axis=0)
    shape = np.ceil(np.ptp(corners, axis=0) - 1e-6).astype(int) + 1
    return _sampled(field, Grid(tuple(shape.tolist()), affine))


def _sampled(field: Displacement, grid: Grid) -> Displacement:
    world = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    return Displacement(grid, field.at(world).astype(np.float32))


def _reaching(field: Displacement, points: np.ndarray) -> Displacement:
    """The field with its border values repeated until its grid holds all `points` (n, 3)."""
    coords = field.grid.to_voxel(points)
    low = np.maximum(0, np.ceil(-coords.min(axis=0))).astype(int)
    high = np.maximum(0, np.ceil(coords.max(axis=0) - np.array(field.grid.shape) + 1)).astype(int)
    if not (low.any() or high.any()):
        return field
    low, high = low + 1, high + 1  # between the followed points a few lie farther out
    vectors = np.pad(field.vectors, [*zip(low.tolist(), high.tolist(), strict=True), (0, 0)], mode="edge")
    affine = field.grid.affine.copy()
    affine[:3, 3] = field.grid.to_world(-low)
    return Displacement(Grid(vectors.shape[:3], affine), vectors)


def reaching(transform: Transform, domain: Grid) -> Transform:
    """`transform` with fields large enough that ITK agrees with us on every point of `domain`.

    Parameters
    ----------
    transform : Transform
        Maps points of `domain`.
    domain : Grid
        Grid of the image on which the transform will be used (the fixed one; the moving one for an inverse).
    """
    axes = [np.linspace(-0.5, n - 0.5, PROBES) for n in domain.shape]
    points = domain.to_world(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)).reshape(-1, 3)
    stages: list[Affine | Displacement] = []
    for stage in transform.stages:
        grown = _reaching(stage, points) if isinstance(stage, Displacement) else stage
        points = grown(points)
        stages.append(grown)
    return Transform(tuple(stages))


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
        Grid of the image on which the files will be used; see `reaching`. Without it ITK and ours differ beyond the
        fields' own grids.

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
    folder, stages = Path(out_dir), _merged(transform.stages)
    paths = [folder / f"{prefix}.h5"]
    with atomic_path(paths[0]) as temporary:
        _run(paths[0], "write", lambda: sitk.WriteTransform(to_itk(transform), str(temporary)))
        erase_times(temporary)
    for number, stage in enumerate(stages, start=1):
        ending = "affine.mat" if isinstance(stage, Affine) else "warp.nii.gz"
        paths.append(folder / f"{prefix}_{number}_{ending}")
        with atomic_path(paths[-1]) as temporary:
            _write_stage(stage, paths[-1], temporary)
    return paths


def _write_stage(stage: Affine | Displacement, path: Path, temporary: Path) -> None:
    if isinstance(stage, Affine):
        itk = _affine_to_itk(stage)
        _run(path, "write", lambda: sitk.WriteTransform(itk, str(temporary)))
    else:
        # Vector images get NIfTI intent 1007, whose components ITK and ANTs leave as they are: LPS.
        image = displacement_to_itk(_unsheared(stage), np.float32)
        _run(path, "write", lambda: sitk.WriteImage(image, str(temporary), True))


def read_transform(path: str | Path) -> Transform:
    """Read an ITK transform file (.h5, .mat, .tfm, .txt) or a displacement field (.nii.gz, .nii, .mha, .nrrd).

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
        image = _run(path, "read", lambda: sitk.ReadImage(str(path)))
        return _named(path, lambda: Transform((displacement_from_itk(image),)))
    if not name.endswith(TRANSFORM_SUFFIXES):
        raise InputError(
            f"{path}: expected a transform file ({', '.join((*TRANSFORM_SUFFIXES, *FIELD_SUFFIXES))}), got {name!r}"
        )
    itk = _run(path, "read", lambda: sitk.ReadTransform(str(path)))
    transform = _named(path, lambda: from_itk(itk))
    for stage in transform.stages:
        if isinstance(stage, Affine) and not abs(np.linalg.det(stage.matrix)) > 1e-9:
            raise InputError(f"{path}: its affine matrix cannot be inverted; export it again")
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
        return step()
    except RuntimeError as error:
        reason = re.sub(r"\s+", " ", str(error).strip().splitlines()[-1]).strip()
        raise InputError(f"{path}: SimpleITK cannot {verb} it ({reason})") from error
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
