"""A smooth, asymmetric body of ellipsoids with texture, known at every point, so that any motion of it is exact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.transform import Rotation

from atlassegfm.volume import Grid, Volume

#: centre in mm, half axes in mm, intensity inside, width of the edge relative to the half axes; later ones cover.
PARTS = (
    ((0, 0, 0), (58, 40, 50), 100.0, 0.05),
    ((26, 6, 16), (24, 24, 20), 190.0, 0.08),
    ((-32, -6, 20), (13, 19, 17), 30.0, 0.10),
    ((-24, -12, -20), (11, 11, 20), 240.0, 0.12),
    ((22, -14, -24), (13, 10, 15), 225.0, 0.12),
    ((2, 20, -14), (18, 10, 13), 20.0, 0.12),
    ((4, -27, 4), (9, 7, 40), 250.0, 0.14),
    ((-6, 14, 30), (9, 8, 8), 240.0, 0.14),
    ((-4, -2, 6), (7, 9, 10), 20.0, 0.14),
)
#: The parts that have a label, 1, 2, ...
LABELLED = (1, 2, 3, 4)


def _inside(points: np.ndarray, part: tuple) -> np.ndarray:
    centre, axes, _, edge = part
    radius = np.sqrt((((points - centre) / axes) ** 2).sum(-1))
    return 1.0 / (1.0 + np.exp(np.clip((radius - 1.0) / edge * 2.0, -50, 50)))


def intensity(points: np.ndarray) -> np.ndarray:
    """Body intensity at points (..., 3) in body mm."""
    value = np.zeros(points.shape[:-1])
    for part in PARTS:
        value += _inside(points, part) * (part[2] - value)
    x, y, z = np.moveaxis(points, -1, 0)
    texture = np.sin(x / 3.1 + 0.3) * np.sin(y / 3.9 + 1.0) + np.sin(z / 4.3 + 2.0) * np.sin((x + y - z) / 5.7)
    return value + 18.0 * texture * _inside(points, PARTS[0])


def label_at(points: np.ndarray) -> np.ndarray:
    """Label at points (..., 3) in body mm."""
    out = np.zeros(points.shape[:-1], dtype=np.uint8)
    for label, number in enumerate(LABELLED, start=1):
        out[_inside(points, PARTS[number]) > 0.5] = label
    return out


def world(grid: Grid) -> np.ndarray:
    """World positions of all voxels, (*shape, 3)."""
    return grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))


PointMap = Callable[[np.ndarray], np.ndarray]


def scan(grid: Grid, to_body: PointMap | None = None, noise: float = 2.0, seed: int = 0) -> Volume:
    """Image of the body on a grid; `to_body` maps world to body mm."""
    points = world(grid)
    data = intensity(points if to_body is None else to_body(points))
    data += np.random.default_rng(seed).normal(0, noise, grid.shape)
    return Volume(data.astype(np.float32), grid)


def label_map(grid: Grid, to_body: PointMap | None = None) -> Volume:
    """Labels of the body on a grid."""
    points = world(grid)
    return Volume(label_at(points if to_body is None else to_body(points)), grid)


def grid_of(
    spacing: tuple[float, float, float] = (4.0, 4.0, 4.0),
    extent: tuple[float, float, float] = (132.0, 112.0, 124.0),
    turn_deg: tuple[float, float, float] = (0.0, 0.0, 0.0),
    centre: tuple[float, float, float] = (0.0, 0.0, 0.0),
    flips: tuple[int, int, int] = (1, 1, 1),
    order: tuple[int, int, int] = (0, 1, 2),
) -> Grid:
    """A grid around `centre` that covers `extent` mm, with turned, flipped and reordered axes."""
    step = np.array(spacing)
    shape = np.ceil(np.array(extent) / step).astype(int)
    axes = Rotation.from_euler("xyz", turn_deg, degrees=True).as_matrix() * np.array(flips)
    affine = np.eye(4)
    affine[:3, :3] = (axes * step)[:, order]
    shape = shape[list(order)]
    affine[:3, 3] = np.array(centre) - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid(tuple(shape.tolist()), affine)


def rigid(axis: str, degrees: float, shift: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> np.ndarray:
    """4x4 rotation about the origin, then a shift in mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


def apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """4x4 matrix on points (..., 3)."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def moving_of(grid: Grid, truth: np.ndarray, seed: int = 1, noise: float = 2.0) -> Volume:
    """The body as seen on `grid` after `truth` (4x4, fixed world to moving world) moved it."""
    inverse = np.linalg.inv(truth)
    return scan(grid, lambda p: apply(inverse, p), noise=noise, seed=seed)


def body_points(step: float = 9.0) -> np.ndarray:
    """Points (n, 3) inside the body."""
    axes = [np.arange(-50, 51, step)] * 3
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return points[_inside(points, PARTS[0]) > 0.8]


def waves(amplitude: float, length: float = 70.0) -> PointMap:
    """A smooth, invertible displacement (mm) whose inverse `undo` finds by iteration."""

    def displacement(p: np.ndarray) -> np.ndarray:
        x, y, z = np.moveaxis(p * (2 * np.pi / length), -1, 0)
        return amplitude * np.stack([np.sin(y + 0.4), np.cos(z - 0.2), np.sin(x + 1.1)], axis=-1)

    return displacement


def undo(displacement: PointMap, points: np.ndarray, iterations: int = 60) -> np.ndarray:
    """x with x + displacement(x) = points."""
    x = points.copy()
    for _ in range(iterations):
        x = points - displacement(x)
    return x
