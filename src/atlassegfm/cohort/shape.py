"""The shape of a label in a few numbers that can be compared within a cohort."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from atlassegfm.volume import Volume

#: Components below this part of the label's volume are specks and are not counted.
SPECK = 0.01
#: Larger boxes are measured on a grid coarsened to about this many voxels.
MOST_VOXELS = 250_000


def shapes(labels: Volume, values: list[int]) -> dict[int, dict[str, float | list[float] | None]]:
    """Per label value that occurs its numbers.

    Parameters
    ----------
    labels : Volume
        Label map.
    values : list of int
        Labels of the atlas.

    Returns
    -------
    dict of int to dict
        ``elongation``: longest by shortest half-axis of the ellipsoid with the label's second moments. ``sphericity``:
        surface of a ball of the same volume by the label's surface, 1 for a ball (Wadell 1935). ``components``:
        connected parts (26 neighbours) that hold a hundredth of it. ``offset_mm``: from the median of the other labels'
        centres to its own, RAS; None unless all labels are there and there are two at least.
    """
    found, centres = {}, {}
    for value, box in _boxes(labels.data, values).items():
        mask = labels.data[box] == value
        origin = np.array([axis.start for axis in box])
        centres[value] = labels.grid.to_world(np.argwhere(mask).mean(axis=0) + origin)
        found[value] = {
            "elongation": _elongation(mask, labels.affine[:3, :3]),
            "sphericity": _sphericity(mask, labels.spacing),
            "components": _components(mask),
            "offset_mm": None,
        }
    if len(centres) == len(values) > 1:
        for value, centre in centres.items():
            others = np.median([other for key, other in centres.items() if key != value], axis=0)
            found[value]["offset_mm"] = [round(float(x), 2) for x in centre - others]
    return found


def _boxes(data: np.ndarray, values: list[int]) -> dict[int, tuple[slice, ...]]:
    """Box of each label that occurs. Labels are numbered first, as some data sets count in tens of thousands."""
    known = np.array(sorted(values))
    numbers = np.minimum(np.searchsorted(known, data), len(known) - 1)
    boxes = ndimage.find_objects(np.where(known[numbers] == data, numbers + 1, 0).astype(np.int32), len(known))
    return {int(value): box for value, box in zip(known, boxes, strict=True) if box is not None}


def _elongation(mask: np.ndarray, axes: np.ndarray) -> float:
    points = np.argwhere(mask) @ axes.T
    # A voxel is a box, not a point: its own second moment keeps flat labels from dividing by zero.
    spread = np.cov(points.T, bias=True) if len(points) > 1 else np.zeros((3, 3))
    moments = np.linalg.eigvalsh(spread + axes @ axes.T / 12.0)
    return round(math.sqrt(moments[-1] / moments[0]), 4)


def _sphericity(mask: np.ndarray, spacing: np.ndarray) -> float:
    """Of the surface at one half of the mask, which is coarsened first when it is large."""
    from skimage.measure import marching_cubes, mesh_surface_area
    from skimage.transform import downscale_local_mean

    # One factor for each axis, so that voxels come out about as long as they are wide.
    wanted = max(float(spacing.min()), (mask.size * float(np.prod(spacing)) / MOST_VOXELS) ** (1 / 3))
    factors = tuple(max(1, int(wanted / step)) for step in spacing)
    share = np.pad(downscale_local_mean(mask.astype(np.float32), factors) if max(factors) > 1 else mask, 1)
    step = spacing * factors
    share = share.astype(np.float32)
    if share.max() <= 0.5:
        return 0.0
    vertices, faces, *_ = marching_cubes(share, 0.5, spacing=tuple(map(float, step)))
    corners = vertices[faces]
    # What the surface encloses, by the divergence theorem.
    volume = abs(float(np.einsum("ij,ij->i", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum())) / 6
    return round(math.pi ** (1 / 3) * (6 * volume) ** (2 / 3) / float(mesh_surface_area(vertices, faces)), 4)


def _components(mask: np.ndarray) -> int:
    import cc3d

    sizes = np.bincount(cc3d.connected_components(mask, connectivity=26).ravel())[1:]
    return int((sizes >= SPECK * sizes.sum()).sum())
