"""What can be seen of one label's result without ground truth, as numbers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import edt
import numpy as np
from scipy import ndimage

from atlassegfm.correlation import windowed_correlation
from atlassegfm.errors import InputError
from atlassegfm.overlap import dice
from atlassegfm.sampling import trilinear
from atlassegfm.volume import Grid, Volume, bounding_box

#: Half width in mm of the band around the border in which entropy is averaged.
BAND_MM = 4.0
#: Half width in mm of the windows of the local correlation, and reach of the surroundings it is averaged over.
WINDOW_MM, SURROUNDINGS_MM = 6.0, 8.0
#: Voxels of the atlas label that are followed into the query, at most.
MAX_POINTS = 20_000

#: World points (..., 3) to world points, RAS+ mm.
PointMap = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Signals:
    """What can be known about one label's result; None where it was not measured.

    Those in `calibration.VIEWS` have a say in the prediction, the others are told.

    Parameters
    ----------
    empty : bool
        The result has no voxel.
    roundtrip_dice : float
        Atlas label carried to the query and back by the independently estimated reverse registration, against itself.
    agreement_dice : float
        M_atlas against M_fm on the query.
    border_entropy : float
        Mean binary entropy of the fused probability in a band around its border, in bits (0 sure, 1 no idea).
    volume_ratio : float
        Volume of the result over the volume expected from the atlas (see `measure`).
    cut_fraction : float
        Share of the label that lies outside the query's field of view.
    similarity : float
        Mean squared local correlation of query and warped atlas image in and around the label, 0 to 1.
    border_dice : float
        Dice of those displaced copies of the label on the atlas whose borders look as wrong (`borders.BorderCurve`).
    apart : float
        Mean distance of the maps there and back at the border of the result, relative to the label's `shapes.radius`.
    distortion : float
        How far the map is from any affine one within the warped label, relative to the label's size
        (`shapes.distortion`).
    thickness_ratio : float
        Thickness of the result over the one that is expected from the atlas (`shapes.thickness_ratio`).
    grey_ratio : float
        Spread of the grey levels within the result over that within the label in the atlas (`greys.Greys`).
    atlas_dice : float
        Dice that the method reached on the atlas from a displaced prior.
    """

    empty: bool = False
    roundtrip_dice: float | None = None
    agreement_dice: float | None = None
    border_entropy: float | None = None
    volume_ratio: float | None = None
    cut_fraction: float | None = None
    similarity: float | None = None
    border_dice: float | None = None
    apart: float | None = None
    distortion: float | None = None
    thickness_ratio: float | None = None
    grey_ratio: float | None = None
    atlas_dice: float | None = None


def measure(
    fused: np.ndarray,
    m_atlas: np.ndarray,
    m_fm: np.ndarray | None,
    spacing: Sequence[float],
    *,
    expected_ml: float | None = None,
    cut: float | None = None,
    roundtrip: float | None = None,
    fixed: np.ndarray | None = None,
    moved: np.ndarray | None = None,
) -> Signals:
    """Signals of one label; all arrays on (the same crop of) the query's grid.

    Parameters
    ----------
    fused : numpy.ndarray, 3D
        Probability of the result, foreground from one half.
    m_atlas : numpy.ndarray, same shape
        Warped atlas label, probability.
    m_fm : numpy.ndarray or None
        The model's probability; None when there was no model.
    spacing : three floats
        Voxel spacing in mm.
    expected_ml : float, optional
        From `expected_volume`; the part that `cut` says is out of sight is taken off here.
    cut : float, optional
        From `cut_fraction`.
    roundtrip : float, optional
        From `dice` of the atlas label carried there and back with the atlas label itself.
    fixed, moved : numpy.ndarray, optional
        Query image and warped atlas image; both or neither.

    Raises
    ------
    InputError
        If shapes differ.
    """
    for name, array in (("M_atlas", m_atlas), ("M_fm", m_fm), ("query image", fixed), ("warped image", moved)):
        if array is not None and array.shape != fused.shape:
            raise InputError(f"quality: expected {name} of shape {fused.shape}, got {array.shape}")
    result, prior = fused >= 0.5, m_atlas >= 0.5
    ratio = None
    if expected_ml is not None and expected_ml * (1.0 - (cut or 0.0)) > 0:
        volume = np.count_nonzero(result) * float(np.prod(spacing)) / 1000.0
        ratio = volume / (expected_ml * (1.0 - (cut or 0.0)))
    similar = None
    if fixed is not None and moved is not None:
        similar = local_similarity(fixed, moved, result | prior, spacing)
    return Signals(
        empty=not result.any(),
        roundtrip_dice=roundtrip,
        agreement_dice=None if m_fm is None else dice(prior, m_fm >= 0.5, both_empty=0.0),
        border_entropy=None if m_fm is None else border_entropy(fused, spacing),
        volume_ratio=ratio,
        cut_fraction=cut,
        similarity=similar,
    )


def border_entropy(prob: np.ndarray, spacing: Sequence[float], band_mm: float = BAND_MM) -> float | None:
    """Mean binary entropy in bits within `band_mm` (mm) of the border of ``prob >= 0.5``; None without a border."""
    size = tuple(float(s) for s in spacing)
    # Thick slices: the band has to reach the first voxel on either side.
    reach = max(band_mm, 1.01 * max(size))
    box = bounding_box(prob >= 0.5, [int(np.ceil(reach / s)) + 1 for s in size])
    if box is None:
        return None
    crop = prob[box].astype(np.float64)
    inside = np.ascontiguousarray(crop >= 0.5)
    if inside.all():
        return None
    distance = np.maximum(edt.edt(inside, anisotropy=size), edt.edt(~inside, anisotropy=size))
    p = np.clip(crop[distance <= reach], 1e-6, 1.0 - 1e-6)
    return float(-(p * np.log2(p) + (1.0 - p) * np.log2(1.0 - p)).mean())


def expected_volume(atlas_ml: float, matrix: np.ndarray) -> float:
    """Volume in ml that a label of `atlas_ml` is expected to have in the query.

    Parameters
    ----------
    atlas_ml : float
        Volume in the atlas.
    matrix : numpy.ndarray, shape (4, 4) or (3, 3)
        Affine part of the registration, query points to atlas points: bodies differ in size.
    """
    return atlas_ml / max(abs(float(np.linalg.det(np.asarray(matrix)[:3, :3]))), 1e-9)


def cut_fraction(labels: Volume, value: int, grid: Grid, to_query: PointMap) -> float:
    """Share of an atlas label that maps outside the query's field of view, 0 to 1.

    Parameters
    ----------
    labels : Volume
        Atlas label map.
    value : int
        The label.
    grid : Grid
        Grid of the query.
    to_query : callable
        World points of the atlas to world points of the query, RAS+ mm: the reverse registration, or the inverse of the
        forward one's affine part.

    Returns
    -------
    float
        0 for a label with no voxel.
    """
    voxels = np.argwhere(labels.data == value)
    if len(voxels) == 0:
        return 0.0
    voxels = voxels[:: -(-len(voxels) // MAX_POINTS)]
    at = grid.to_voxel(to_query(labels.grid.to_world(voxels)))
    seen = ((at >= -0.5) & (at <= np.array(grid.shape) - 0.5)).all(axis=1)
    return float(1.0 - seen.mean())


def local_similarity(fixed: np.ndarray, moved: np.ndarray, mask: np.ndarray, spacing: Sequence[float]) -> float | None:
    """Mean squared local correlation of two images in and around a mask, 0 to 1.

    Windows reach `WINDOW_MM` to each side; the mean runs over the mask and `SURROUNDINGS_MM` around it. Squared, it
    does not mind inverted contrast. Windows in which either image is constant count as 0.

    Returns
    -------
    float or None
        None for an empty mask.
    """
    size = np.asarray(spacing, dtype=float)
    window = (2 * np.maximum(1, np.round(WINDOW_MM / size)) + 1).astype(int)
    around = np.ceil(SURROUNDINGS_MM / size).astype(int)
    box = bounding_box(mask, around + window)
    if box is None:
        return None
    cc = windowed_correlation(fixed[box], moved[box], window) ** 2
    near = edt.edt(np.ascontiguousarray(~mask[box]), anisotropy=tuple(size.tolist())) <= SURROUNDINGS_MM
    return float(cc[near].mean())


def border_points(mask: np.ndarray, grid: Grid) -> np.ndarray:
    """World points (n, 3), RAS+ mm, of border voxels of a mask on `grid`; a selection where they are many."""
    border = np.argwhere(mask & ~ndimage.binary_erosion(mask, border_value=1))
    return grid.to_world(border[:: max(1, -(-len(border) // MAX_POINTS))])


def sampled(volume: Volume, points: np.ndarray) -> np.ndarray:
    """Values (n,) of an image at world points (n, 3), trilinear; beyond the image those of its border."""
    return trilinear(volume.data, volume.grid.to_voxel(points))
