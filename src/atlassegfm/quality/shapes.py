"""What became of a label's shape on the way to the query: organs of two people differ, but they are seldom torn.

Registration that has found the wrong structure squeezes the label into it: the map bends within the label, and the
result is thinner than what it was made from. Neither needs the reverse registration or the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from atlassegfm.quality.signals import PointMap
from atlassegfm.volume import Grid, bounding_box

#: Voxels of a label that are followed into the atlas, at most.
MOST_FOLLOWED = 4_000
#: Fewer points than this say nothing about a map with twelve numbers.
FEWEST_FOLLOWED = 24


def radius(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Three times volume over surface, in mm: the radius of a ball that is as thick; 0 for an empty mask.

    The surface is that of the voxels' faces times 2/3, which is what they exceed a smooth surface by on average over
    its directions.
    """
    box = bounding_box(mask)
    if box is None:
        return 0.0
    part, size = np.pad(mask[box], 1).astype(np.int8), np.asarray(spacing, dtype=float)
    faces = sum(np.count_nonzero(np.diff(part, axis=a)) * float(np.prod(np.delete(size, a))) for a in range(3))
    return float(3.0 * np.count_nonzero(part) * np.prod(size) / (2.0 / 3.0 * faces))


def spread(mask: np.ndarray, spacing: Sequence[float]) -> float:
    """Radius in mm of a ball whose voxels lie as far from their middle, on average of the squares; 0 for none."""
    places = np.argwhere(mask) * np.asarray(spacing, dtype=float)
    return float(np.sqrt(5.0 / 3.0 * places.var(axis=0).sum())) if len(places) else 0.0


def distortion(mask: np.ndarray, grid: Grid, to_atlas: PointMap, size_mm: float) -> float | None:
    """How far the map to the atlas is from any affine one within a label, relative to the label's size.

    Parameters
    ----------
    mask : numpy.ndarray of bool, 3D
        The warped label on the query's grid, or on a part of it.
    grid : Grid
        Grid of `mask`.
    to_atlas : callable
        World points (n, 3) of the query to world points of the atlas, RAS+ mm.
    size_mm : float
        Of the label in the atlas: the geometric mean of `radius` and `spread`. What bends a long label bends it more;
        what it costs depends on how thick the label is.

    Returns
    -------
    float or None
        Root mean square distance in mm to the best affine map, over `size_mm`; None for a label of a few voxels.
    """
    voxels = np.argwhere(mask)
    if len(voxels) < FEWEST_FOLLOWED or size_mm <= 0:
        return None
    here = grid.to_world(voxels[:: -(-len(voxels) // MOST_FOLLOWED)])
    there = to_atlas(here)
    # Without the middles the fit is as well conditioned as the label is thick.
    here, there = here - here.mean(axis=0), there - there.mean(axis=0)
    best, *_ = np.linalg.lstsq(here, there, rcond=None)
    return float(np.sqrt(np.square(here @ best - there).sum(axis=1).mean())) / size_mm


def thickness_ratio(radius_mm: float, atlas_radius_mm: float, matrix: np.ndarray) -> float | None:
    """Thickness of a result over the one that is expected from the atlas.

    Parameters
    ----------
    radius_mm, atlas_radius_mm : float
        `radius` of the result and of the label in the atlas.
    matrix : numpy.ndarray, shape (4, 4) or (3, 3)
        Affine part of the registration, query points to atlas points: bodies differ in size.

    Returns
    -------
    float or None
        None where either is empty.
    """
    if radius_mm <= 0 or atlas_radius_mm <= 0:
        return None
    return radius_mm / atlas_radius_mm * abs(float(np.linalg.det(np.asarray(matrix)[:3, :3]))) ** (1.0 / 3.0)
