"""Metrics against independent implementations: brute force over coordinate lists, and MONAI where it is installed."""

import math

import numpy as np
import pytest
from scipy import ndimage
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from skimage.morphology import skeletonize

from atlassegfm.evaluation.metrics import METRICS, all_metrics


def brute_force(pred, truth, spacing, tolerance):
    """Everything from coordinate lists, with no distance transform, tree or array trick shared with the code."""
    spacing = np.array(spacing)
    points = []
    for mask in (pred, truth):
        inside = {tuple(p) for p in np.argwhere(mask)}
        steps = [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]
        surface = [p for p in inside if any(tuple(np.add(p, s)) not in inside for s in steps)]
        points.append((inside, np.array(sorted(surface)).reshape(-1, 3)))
    (a, surface_a), (b, surface_b) = points
    ml = spacing[0] * spacing[1] * spacing[2] / 1000
    result = {"volume_difference_ml": (len(a) - len(b)) * ml}
    if not a and not b:
        return result | {"dice": 1, "nsd": 1, "hd95": 0, "assd": 0, "volume_difference_percent": 0}
    if not a or not b:
        worst = math.dist((0, 0, 0), spacing * pred.shape)
        percent = -100 if b else math.nan
        return result | {"dice": 0, "nsd": 0, "hd95": worst, "assd": worst, "volume_difference_percent": percent}
    distance = cdist(surface_a * spacing, surface_b * spacing)
    there, back = distance.min(axis=1), distance.min(axis=0)
    total = len(there) + len(back)
    return result | {
        "dice": 2 * len(a & b) / (len(a) + len(b)),
        "nsd": ((there <= tolerance + 1e-6).sum() + (back <= tolerance + 1e-6).sum()) / total,
        "hd95": max(np.percentile(there, 95), np.percentile(back, 95)),
        "assd": (there.sum() + back.sum()) / total,
        "volume_difference_percent": 100 * (len(a) - len(b)) / len(b),
    }


def random_pair(seed):
    """Smooth blobs, noise, empty and one-voxel masks on a small anisotropic grid."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(3, 18, 3))
    kinds = ["blob", "blob", "noise", "empty", "voxel", "full"]
    masks = []
    for kind in rng.choice(kinds, 2):
        mask = np.zeros(shape, bool)
        if kind == "blob":
            field = gaussian_filter(rng.normal(size=shape), 2)
            mask = field > np.quantile(field, rng.uniform(0.4, 0.9))
        elif kind == "noise":
            mask = rng.random(shape) < 0.1
        elif kind == "voxel":
            mask[tuple(rng.integers(0, shape))] = True
        elif kind == "full":
            mask[:] = True
        masks.append(mask)
    return *masks, tuple(rng.uniform(0.4, 4.0, 3)), float(rng.uniform(0, 5))


PAIRS = [random_pair(seed) for seed in range(50)]


def test_the_random_pairs_hold_the_hard_cases():
    sizes = [sorted((int(p.sum()), int(t.sum()))) for p, t, _, _ in PAIRS]
    assert [0, 0] in sizes
    assert any(low == 0 and high > 1 for low, high in sizes)
    assert any(low == 1 and high > 1 for low, high in sizes)
    assert sum(low > 1 for low, _ in sizes) >= 15


@pytest.mark.parametrize("seed", range(50))
def test_equals_brute_force(seed):
    pred, truth, spacing, tolerance = PAIRS[seed]
    found, expected = all_metrics(pred, truth, spacing, tolerance), brute_force(pred, truth, spacing, tolerance)
    assert set(found) == set(METRICS) == set(expected) | {"cldice"}
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=1e-6, nan_ok=True), name


@pytest.mark.parametrize("seed", range(50))
def test_equals_monai(seed):
    pytest.importorskip("monai", reason="MONAI is not installed: cross-check against it skipped")
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_dice,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    pred, truth, spacing, tolerance = PAIRS[seed]
    if not (pred.any() and truth.any()):
        pytest.skip("MONAI gives NaN or infinity for empty masks; ours are defined otherwise")
    y_pred, y = (torch.from_numpy(m)[None, None].float() for m in (pred, truth))
    options = {"include_background": True, "spacing": list(spacing)}
    expected = {
        "dice": compute_dice(y_pred, y),
        "hd95": compute_hausdorff_distance(y_pred, y, percentile=95, **options),
        "assd": compute_average_surface_distance(y_pred, y, symmetric=True, **options),
        "nsd": compute_surface_dice(y_pred, y, class_thresholds=[tolerance], **options),
    }
    found = all_metrics(pred, truth, spacing, tolerance)
    for name, value in expected.items():
        # MONAI stores its results as float32.
        assert found[name] == pytest.approx(float(value), rel=1e-6, abs=1e-6), name


def thin_lines(mask):
    """Scikit-image's skeleton, and for each piece it loses the voxel farthest from the outside, found one by one."""
    thin = skeletonize(mask).astype(bool)
    pieces, n = ndimage.label(mask, np.ones((3, 3, 3)))
    depth = ndimage.distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1, 1:-1]
    for piece in range(1, n + 1):
        if not thin[pieces == piece].any():
            voxels = np.argwhere(pieces == piece)
            thin[tuple(voxels[np.argmax([round(depth[tuple(v)], 4) for v in voxels])])] = True
    return {tuple(v) for v in np.argwhere(thin)}


@pytest.mark.parametrize("seed", range(50))
def test_cldice_equals_counting_on_whole_arrays(seed):
    pred, truth, spacing, _ = PAIRS[seed]
    inside = [{tuple(v) for v in np.argwhere(m)} for m in (pred, truth)]
    lines = [thin_lines(m) for m in (pred, truth)]
    if not lines[0] or not lines[1]:
        expected = float(lines[0] == lines[1])
    else:
        precision, sensitivity = len(lines[0] & inside[1]) / len(lines[0]), len(lines[1] & inside[0]) / len(lines[1])
        expected = 2 * precision * sensitivity / (precision + sensitivity) if precision + sensitivity else 0
    assert all_metrics(pred, truth, spacing)["cldice"] == pytest.approx(expected, abs=1e-6)
