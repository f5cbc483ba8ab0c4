"""How well a mask agrees with the true one: overlap, surface distance, topology, volume.

**Surface definition: voxel centres.** The surface of a mask is the set of its voxels with at least one of their six
face neighbours outside the mask (beyond the array counts as outside), and a distance is one between voxel centres in
mm. MONAI, MedPy and MetricsReloaded agree on this definition to the last digit. The other one in use, surface elements
weighted by area (DeepMind's surface-distance, MONAI with ``use_subvoxels=True``), gives other numbers on the same masks
(NSD 0.78 instead of 0.69 on one liver), so values of the two families must not stand in one column. Voxel centres are
taken because three well-kept libraries agree on them exactly, because they need no look-up table of surface elements,
and because a reader can check them by hand.

**Empty masks.** A label can be absent from the truth, from the prediction, or from both:

=============================  =====================  =================================
metric                         both empty             exactly one empty
=============================  =====================  =================================
dice, nsd, cldice              1                      0
hd95, assd                     0 mm                   diagonal of the field of view, mm
volume_difference_ml           0                      the whole volume, signed
volume_difference_percent      0                      -100, or NaN when the truth is the empty one
=============================  =====================  =================================

The diagonal is the worst distance two voxels of that image can have (BraTS uses the same rule with its fixed
373.13 mm). It is finite, so that a lost organ makes a mean bad instead of infinite, or, were it left out, better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from atlassegfm.errors import InputError
from atlassegfm.overlap import dice
from atlassegfm.volume import bounding_box

#: Distances within this of the tolerance count as inside it: ties must not depend on floating-point rounding.
TIE_MM = 1e-6
#: Label maps with larger values than this are searched value by value.
MOST_VALUES = 65_535


@dataclass(frozen=True)
class Metric:
    """What a reader has to know about one metric.

    Parameters
    ----------
    name : str
        Column name and key in JSON files.
    title : str
        Heading in tables, with the unit.
    better : str
        "high", "low" or "zero" (a signed difference).
    digits : int
        Decimals worth printing.
    """

    name: str
    title: str
    better: str
    digits: int


#: The metrics of `all_metrics`, in the order of the columns.
METRICS: dict[str, Metric] = {
    m.name: m
    for m in (
        Metric("dice", "Dice", "high", 3),
        Metric("nsd", "NSD", "high", 3),
        Metric("hd95", "HD95 (mm)", "low", 2),
        Metric("assd", "ASSD (mm)", "low", 2),
        Metric("cldice", "clDice", "high", 3),
        Metric("volume_difference_ml", "Volume difference (ml)", "zero", 2),
        Metric("volume_difference_percent", "Volume difference (%)", "zero", 1),
    )
}


def surface_voxels(mask: np.ndarray) -> np.ndarray:
    """Voxels of a boolean array that have a face neighbour outside the mask; same shape, boolean."""
    inside = mask.copy()
    for axis in range(mask.ndim):
        moved, source = np.moveaxis(inside, axis, 0), np.moveaxis(mask, axis, 0)
        moved[1:] &= source[:-1]
        moved[:-1] &= source[1:]
        moved[[0, -1]] = False
    return mask & ~inside


def surface_distances(pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Distance from each surface voxel of one mask to the nearest surface voxel of the other, in mm.

    A k-d tree finds the neighbour and the distance is computed from the index difference in float64. On organ-sized
    surfaces this takes a sixth of the time of two distance transforms of the box (which `edt` gives in float32 only).

    Parameters
    ----------
    pred, truth : numpy.ndarray of bool, same 3D shape, neither empty
        The masks.
    spacing : three floats
        Voxel spacing in mm along the array's axes.

    Returns
    -------
    from_pred, from_truth : numpy.ndarray of float64, one value per surface voxel
    """
    a, b = np.argwhere(surface_voxels(pred)), np.argwhere(surface_voxels(truth))
    step = np.asarray(spacing, dtype=np.float64)
    return _nearest(a, b, step), _nearest(b, a, step)


def _nearest(points: np.ndarray, targets: np.ndarray, step: np.ndarray) -> np.ndarray:
    # Sliding-midpoint splits build and search faster here than balanced ones: surface voxels are evenly spread.
    tree = cKDTree(targets * step, balanced_tree=False, compact_nodes=False)
    _, index = tree.query(points * step)
    return np.linalg.norm((points - targets[index]) * step, axis=1)


def skeleton(mask: np.ndarray) -> np.ndarray:
    """Centre lines of a 3D boolean array (Lee, Kashyap & Chu 1994), as a boolean array of the same shape.

    Scikit-image's thinning removes some compact pieces altogether (a cube of 2x2x2 or 4x4x4 voxels vanishes). A piece
    has a centre whatever its shape, so each 26-connected component left without a skeleton voxel gets its deepest one
    (the first in array order of several equally deep ones).
    """
    import cc3d
    import edt
    from skimage.morphology import skeletonize

    if not mask.any():
        return np.zeros_like(mask)
    lines = skeletonize(np.ascontiguousarray(mask)).astype(bool)
    components = cc3d.connected_components(np.ascontiguousarray(mask), connectivity=26)
    lost = np.setdiff1d(np.unique(components), np.append(np.unique(components[lines]), 0))
    if lost.size:
        depth = edt.edt(np.ascontiguousarray(mask), black_border=True).ravel()
        voxels = np.flatnonzero(np.isin(components, lost))
        piece = components.ravel()[voxels]
        order = np.lexsort((voxels, -depth[voxels], piece))
        _, first = np.unique(piece[order], return_index=True)
        lines.ravel()[voxels[order[first]]] = True
    return lines


def cldice(pred: np.ndarray, truth: np.ndarray) -> float:
    """Centre-line Dice (Shit et al., CVPR 2021, Eq. 1-2) of two boolean arrays.

    ``Tprec = |S_P n T| / |S_P|``, ``Tsens = |S_T n P| / |S_T|`` with the skeletons S, and their harmonic mean; 1 when
    both masks are empty, 0 when one is or when neither skeleton meets the other mask.
    """
    # Thinning is nearly all the time of a large label, and scikit-image's lets go of the interpreter's lock.
    with ThreadPoolExecutor(2) as pool:
        lines_pred, lines_truth = pool.map(skeleton, (pred, truth))
    n_pred, n_truth = int(lines_pred.sum()), int(lines_truth.sum())
    if n_pred == 0 or n_truth == 0:
        return float(n_pred == n_truth)
    precision = int((lines_pred & truth).sum()) / n_pred
    sensitivity = int((lines_truth & pred).sum()) / n_truth
    return 2.0 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0.0


def all_metrics(
    pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance_mm: float = 2.0
) -> dict[str, float]:
    """Every metric of one label; see the module's head for surfaces and empty masks.

    Parameters
    ----------
    pred, truth : numpy.ndarray, same 3D shape
        Masks; anything non-zero is inside.
    spacing : three floats
        Voxel spacing in mm along the array's axes (the axes must be orthogonal, as those of nearly all scans are).
    tolerance_mm : float
        How far surfaces may lie apart and still agree, for NSD (Nikolov et al. 2021, here over surface voxels).

    Returns
    -------
    dict
        The keys of `METRICS`: dice, nsd, cldice in [0, 1]; hd95 (the larger of the two directed 95th percentiles,
        linearly interpolated) and assd (mean over both surfaces pooled) in mm; volume differences prediction minus
        truth, in ml and in % of the truth.

    Raises
    ------
    InputError
        When the arrays are not two 3D ones of one shape, or spacing or tolerance make no sense.
    """
    pred, truth, step = _checked(pred, truth, spacing, tolerance_mm)
    sizes = int(np.count_nonzero(pred)), int(np.count_nonzero(truth))
    volume = _volume_difference(*sizes, float(np.prod(step)) / 1000.0)
    if 0 in sizes:
        agree = float(sizes[0] == sizes[1])
        distance = 0.0 if agree else float(np.linalg.norm(step * pred.shape))
        found = {"dice": agree, "nsd": agree, "hd95": distance, "assd": distance, "cldice": agree}
        return found | volume
    box = bounding_box(pred | truth)
    pred, truth = np.ascontiguousarray(pred[box]), np.ascontiguousarray(truth[box])
    to_truth, to_pred = surface_distances(pred, truth, step)
    pooled = np.concatenate([to_truth, to_pred])
    return {
        "dice": dice(pred, truth),
        "nsd": float(np.mean(pooled <= tolerance_mm + TIE_MM)),
        "hd95": float(max(np.percentile(to_truth, 95), np.percentile(to_pred, 95))),
        "assd": float(pooled.mean()),
        "cldice": cldice(pred, truth),
        **volume,
    }


def label_metrics(
    pred: np.ndarray,
    truth: np.ndarray,
    values: Iterable[int],
    spacing: Sequence[float],
    tolerance_mm: float = 2.0,
) -> dict[int, dict[str, float]]:
    """`all_metrics` of several labels of two label maps, each label looked at inside its own box.

    Parameters
    ----------
    pred, truth : numpy.ndarray of integers, same 3D shape
        Label maps.
    values : iterable of int
        Labels to compare.
    spacing, tolerance_mm
        As in `all_metrics`.
    """
    pred, truth = np.asarray(pred), np.asarray(truth)
    _checked(pred, truth, spacing, tolerance_mm)
    values = [int(value) for value in values]
    pred_boxes, truth_boxes = _label_boxes(pred, values), _label_boxes(truth, values)
    result = {}
    for value in values:
        box = (slice(None),) * 3
        # The penalty for a lost label is the diagonal of the whole image, so that case must see the whole image.
        if value in pred_boxes and value in truth_boxes:
            both = zip(pred_boxes[value], truth_boxes[value], strict=True)
            box = tuple(slice(min(p.start, t.start), max(p.stop, t.stop)) for p, t in both)
        result[value] = all_metrics(pred[box] == value, truth[box] == value, spacing, tolerance_mm)
    return result


def _label_boxes(data: np.ndarray, values: Sequence[int]) -> dict[int, tuple[slice, ...]]:
    """Bounding boxes of the label values that occur, found in one pass over the array."""
    if int(data.max(initial=0)) > MOST_VALUES:  # the one pass keeps a list as long as the largest value
        found = {value: bounding_box(data == value) for value in values}
    else:
        boxes = ndimage.find_objects(data)
        found = {value: boxes[value - 1] for value in values if 0 < value <= len(boxes)}
    return {value: box for value, box in found.items() if box is not None}


def _volume_difference(n_pred: int, n_truth: int, voxel_ml: float) -> dict[str, float]:
    # Nothing can be expressed in percent of an absent organ; only "absent, and rightly so" has a value.
    percent = math.nan if n_pred else 0.0
    if n_truth:
        percent = 100.0 * (n_pred - n_truth) / n_truth
    return {"volume_difference_ml": (n_pred - n_truth) * voxel_ml, "volume_difference_percent": percent}


def _checked(
    pred: np.ndarray, truth: np.ndarray, spacing: Sequence[float], tolerance_mm: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    pred, truth = np.asarray(pred), np.asarray(truth)
    if pred.ndim != 3 or pred.shape != truth.shape:
        raise InputError(f"expected two 3D masks of one shape, got {pred.shape} and {truth.shape}")
    step = np.asarray(spacing, dtype=np.float64)
    if step.shape != (3,) or not np.isfinite(step).all() or step.min() <= 0:
        raise InputError(f"expected three positive spacings in mm, got {spacing}")
    if not (math.isfinite(tolerance_mm) and tolerance_mm >= 0):
        raise InputError(f"expected a surface tolerance of 0 mm or more, got {tolerance_mm}")
    return pred.astype(bool, copy=False), truth.astype(bool, copy=False), step
