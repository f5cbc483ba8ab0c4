"""Our transforms and images as ITK's, and back.

World points are LPS there and RAS here: both the matrices and the displacement vectors are turned over. ITK applies the
transform of a composite that was added last first, so our stages go in from the last to the first.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk  # noqa: N813

from atlassegfm.errors import InputError
from atlassegfm.registration.transform import Affine, Displacement, Transform
from atlassegfm.resampling import resample_image
from atlassegfm.volume import Grid, Volume

#: Turns RAS+ mm to LPS+ mm and back.
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
#: ITK knows no sheared grids: columns whose cosine exceeds this are sheared.
SHEAR_TOLERANCE = 1e-5
#: Points per axis of the domain that are followed to see how far a field has to reach.
PROBES = 9


def volume_to_itk(volume: Volume) -> sitk.Image:
    """Copy of an image as a SimpleITK one (LPS), voxel type kept; the grid must not be sheared."""
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
    for stage in reversed(merged(transform.stages)):
        composite.AddTransform(affine_to_itk(stage) if isinstance(stage, Affine) else _field_to_itk(stage))
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


def affine_to_itk(stage: Affine) -> sitk.AffineTransform:
    """ITK affine about the origin."""
    matrix = LPS @ stage.matrix @ LPS
    out = sitk.AffineTransform(3)
    out.SetMatrix(matrix[:3, :3].ravel().tolist())
    out.SetTranslation(matrix[:3, 3].tolist())
    return out


def _field_to_itk(stage: Displacement) -> sitk.DisplacementFieldTransform:
    return sitk.DisplacementFieldTransform(displacement_to_itk(unsheared(stage)))


def merged(stages: tuple[Affine | Displacement, ...]) -> list[Affine | Displacement]:
    """The same map with neighbouring affines multiplied into one, and at least one stage."""
    out: list[Affine | Displacement] = []
    for stage in stages:
        if out and isinstance(stage, Affine) and isinstance(out[-1], Affine):
            out[-1] = Affine(stage.matrix @ out[-1].matrix)
        else:
            out.append(stage)
    return out or [Affine(np.eye(4))]


def upright(grid: Grid) -> Grid:
    """A grid with orthogonal axes over the same field of view (a tilted CT gantry gives a sheared one)."""
    axes = grid.affine[:3, :3] / grid.spacing
    if np.abs(axes.T @ axes - np.eye(3)).max() < SHEAR_TOLERANCE:
        return grid
    orthogonal, triangle = np.linalg.qr(axes)
    orthogonal *= np.sign(np.diag(triangle))
    affine = np.eye(4)
    affine[:3, :3] = orthogonal * grid.spacing
    corners = np.linalg.solve(affine[:3, :3], grid.corners.T).T
    affine[:3, 3] = affine[:3, :3] @ corners.min(axis=0)
    shape = np.ceil(np.ptp(corners, axis=0) - 1e-6).astype(int) + 1
    return Grid(tuple(shape.tolist()), affine)


def upright_image(image: Volume) -> Volume:
    """The image itself, or its copy on an `upright` grid."""
    grid = upright(image.grid)
    return image if grid is image.grid else resample_image(image, grid)


def unsheared(field: Displacement) -> Displacement:
    """The field itself, or its copy on an `upright` grid."""
    grid = upright(field.grid)
    return field if grid is field.grid else _sampled(field, grid)


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
