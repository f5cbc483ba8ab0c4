"""Spatial transforms: chains of affine matrices and displacement fields on world points (RAS+ mm)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlassegfm.points import linear_map
from atlassegfm.sampling import trilinear
from atlassegfm.volume import Grid

#: Fixed-point inversion of a displacement field leaves a vector alone once it changes by less than this, in mm.
INVERSION_TOLERANCE_MM = 0.01
INVERSION_ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class Affine:
    """World points to world points by a 4x4 matrix, RAS+ mm."""

    matrix: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points (..., 3)."""
        return linear_map(self.matrix[:3, :3], points, self.matrix[:3, 3])

    def inverse(self) -> Affine:
        """The inverse map."""
        return Affine(np.linalg.inv(self.matrix))

    def moved(self, grid: Grid) -> Grid:
        """A grid whose voxels lie where this takes those of `grid`."""
        return Grid(grid.shape, self.matrix @ grid.affine)


def about(linear: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """4x4 matrix of the 3x3 matrix `linear` about a point (3,), which stays where it is; any unit."""
    out = np.eye(4)
    out[:3, :3] = linear
    out[:3, 3] = centre - linear @ centre
    return out


def sides_exchanged(grid: Grid) -> Affine:
    """World points with left and right exchanged about the middle of a grid; its own inverse.

    It mirrors headers (`Affine.moved`) rather than voxels: of oblique scans no axis leads from left to right.
    """
    return Affine(about(np.diag([-1.0, 1.0, 1.0]), grid.centre))


@dataclass(frozen=True, eq=False)
class Displacement:
    """World points x to x + u(x), with u sampled on a grid.

    Parameters
    ----------
    grid : Grid
        Where the vectors are; beyond it u keeps its border value.
    vectors : numpy.ndarray, shape grid.shape + (3,), float32
        Displacement in RAS+ mm.
    """

    grid: Grid
    vectors: np.ndarray

    @classmethod
    def of_voxels(cls, grid: Grid, u: np.ndarray) -> Displacement:
        """From displacements (3, I, J, K) in voxels along the array's axes."""
        return cls(grid, linear_map(grid.affine[:3, :3], np.moveaxis(u, 0, -1)).astype(np.float32))

    def at(self, points: np.ndarray) -> np.ndarray:
        """Displacement vectors (..., 3) in mm at world points (..., 3), trilinear."""
        return trilinear(self.vectors, self.grid.to_voxel(points))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points (..., 3)."""
        return points + self.at(points)

    def inverse(self) -> Displacement:
        """The inverse map on the same grid, by the fixed-point iteration v <- -u(x + v).

        Chen et al., "A simple fixed-point approach to invert a deformation field", Med Phys 35 (2008), Eq. 5.
        """
        world = self.grid.to_world(np.moveaxis(np.indices(self.grid.shape), 0, -1)).reshape(-1, 3)
        vectors = np.zeros((len(world), 3), dtype=np.float32)
        # Each point converges on its own: those that have are left alone, and a fold costs only its own voxels.
        pending = np.arange(len(world))
        for _ in range(INVERSION_ITERATIONS):
            update = -self.at(world[pending] + vectors[pending]).astype(np.float32)
            change = np.abs(update - vectors[pending]).max(axis=-1)
            vectors[pending] = update
            pending = pending[change >= INVERSION_TOLERANCE_MM]
            if pending.size == 0:
                break
        return Displacement(self.grid, vectors.reshape(self.vectors.shape))


@dataclass(frozen=True, eq=False)
class Transform:
    """A pull-back from fixed (query) world points to moving (atlas) world points, RAS+ mm.

    Parameters
    ----------
    stages : tuple of Affine or Displacement
        Applied to a point in this order.
    """

    stages: tuple[Affine | Displacement, ...] = ()

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Map points (..., 3)."""
        out = np.asarray(points, dtype=np.float64)
        for stage in self.stages:
            out = stage(out)
        return out

    def inverse(self) -> Transform:
        """The inverse map; displacement fields are inverted numerically on their own grids."""
        return Transform(tuple(stage.inverse() for stage in reversed(self.stages)))

    def then(self, other: Transform) -> Transform:
        """Chain: the result applies self, then `other`."""
        return Transform(self.stages + other.stages)

    @property
    def matrix(self) -> np.ndarray:
        """Product of the affine stages, shape (4, 4)."""
        out = np.eye(4)
        for stage in self.stages:
            if isinstance(stage, Affine):
                out = stage.matrix @ out
        return out

    def linear_part(self) -> Transform:
        """The affine stages alone."""
        return Transform(tuple(stage for stage in self.stages if isinstance(stage, Affine)))


def voxel_displacement(transform: Transform, matrix: np.ndarray, grid: Grid) -> np.ndarray:
    """A transform as a displacement (3, I, J, K) float32, in voxels of `grid`, that is followed by `matrix` (4, 4)."""
    world = grid.to_world(np.moveaxis(np.indices(grid.shape), 0, -1))
    before = Affine(np.linalg.inv(matrix))(transform(world))
    vectors = linear_map(np.linalg.inv(grid.affine[:3, :3]), before - world)
    return np.ascontiguousarray(np.moveaxis(vectors, -1, 0), dtype=np.float32)
