"""Metric definitions pinned by hand-computed cases and by two independent implementations."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import cdist
from skimage.morphology import skeletonize

from atlassegfm.errors import InputError
from atlassegfm.evaluation.metrics import METRICS, all_metrics, cldice, label_metrics, skeleton, surface_voxels

SPACING = (0.7, 1.3, 2.5)


def box(shape, *bounds):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(*b) for b in bounds)] = True
    return mask


# ---------------------------------------------------------------------------------------------- hand-computed


def test_two_bars_by_hand():
    # Bars of 10 voxels along i, 2 mm apart per voxel, the second moved by two voxels: 8 shared, ends 2 and 4 mm off.
    pred, truth = box((14, 3, 3), (0, 10), (1, 2), (1, 2)), box((14, 3, 3), (2, 12), (1, 2), (1, 2))
    found = all_metrics(pred, truth, (2.0, 1.0, 1.0), tolerance_mm=2.0)
    assert found["dice"] == pytest.approx(16 / 20)
    # Every voxel of a bar is surface. Distances of each bar: eight times 0, once 2, once 4.
    assert found["nsd"] == pytest.approx(18 / 20)
    assert found["assd"] == pytest.approx(6 / 10)
    # 95 % of the way through ten sorted values is position 8.55, between 2 and 4.
    assert found["hd95"] == pytest.approx(2 + 0.55 * 2)
    # A bar is its own skeleton: 8 of 10 voxels lie in the other bar, both ways.
    assert found["cldice"] == pytest.approx(0.8)
    assert found["volume_difference_ml"] == 0
    assert found["volume_difference_percent"] == 0


def test_hd95_is_the_larger_direction_and_not_the_pooled_percentile():
    # Truth: 20 plates' worth of one row; prediction: the row plus one far voxel, 10 mm away.
    truth = box((30, 1, 1), (0, 19))
    pred = truth.copy()
    pred[28] = True
    found = all_metrics(pred, truth, (1, 1, 1), 0.0)
    # pred -> truth: 19 zeros and one 10: position 18.05 of 0..19, i.e. 5 % of the way to 10.
    assert found["hd95"] == pytest.approx(0.05 * 10)
    assert found["assd"] == pytest.approx(10 / 39)
    assert found["nsd"] == pytest.approx(38 / 39)


def test_cube_in_cube_by_hand():
    # A 3-cube inside a 5-cube: surfaces are shells of 26 and 98 voxels, one voxel apart.
    truth, pred = box((7, 7, 7), (1, 6), (1, 6), (1, 6)), box((7, 7, 7), (2, 5), (2, 5), (2, 5))
    assert surface_voxels(truth).sum() == 98
    assert surface_voxels(pred).sum() == 26
    found = all_metrics(pred, truth, (1, 1, 1), tolerance_mm=1.0)
    assert found["dice"] == pytest.approx(2 * 27 / (27 + 125))
    # Inner shell: all 26 at 1. Outer shell: 6 faces of 3x3 at 1, 12 edges of 3 at sqrt 2, 8 corners at sqrt 3.
    assert found["nsd"] == pytest.approx((26 + 54) / 124)
    assert found["assd"] == pytest.approx((26 + 54 + 36 * math.sqrt(2) + 8 * math.sqrt(3)) / 124)
    # 98 sorted values: position 92.15 lies among the eight corners (indices 90 to 97).
    assert found["hd95"] == pytest.approx(math.sqrt(3))
    assert found["volume_difference_ml"] == pytest.approx(-98 / 1000)
    assert found["volume_difference_percent"] == pytest.approx(-78.4)


def test_spacing_decides_which_shift_is_near():
    truth = box((9, 9, 9), (4, 5), (4, 5), (4, 5))
    along_k = np.roll(truth, 1, axis=2)
    found = all_metrics(along_k, truth, SPACING, tolerance_mm=2.5)
    assert found["hd95"] == found["assd"] == pytest.approx(2.5)
    assert found["nsd"] == 1
    assert all_metrics(along_k, truth, SPACING, tolerance_mm=2.4)["nsd"] == 0
    assert all_metrics(np.roll(truth, 1, axis=0), truth, SPACING, 0.7)["nsd"] == 1


def test_a_tie_with_the_tolerance_counts_as_inside_in_spite_of_rounding():
    truth = box((400, 1, 1), (200, 201))
    pred = np.roll(truth, 3, axis=0)  # 3 * 0.1 is 0.30000000000000004 in floating point
    assert all_metrics(pred, truth, (0.1, 1, 1), 0.3)["nsd"] == 1


def test_the_border_of_the_array_is_surface():
    assert surface_voxels(np.ones((3, 3, 3), bool)).sum() == 26
    assert surface_voxels(np.ones((1, 4, 4), bool)).sum() == 16


# ---------------------------------------------------------------------------------------------- empty masks


def test_both_empty_is_full_agreement():
    empty = np.zeros((4, 5, 6), bool)
    found = all_metrics(empty, empty, SPACING)
    assert found == {
        "dice": 1.0,
        "nsd": 1.0,
        "hd95": 0.0,
        "assd": 0.0,
        "cldice": 1.0,
        "volume_difference_ml": 0.0,
        "volume_difference_percent": 0.0,
    }


@pytest.mark.parametrize("missing", ["pred", "truth"])
def test_one_empty_is_the_worst_value_and_finite(missing):
    full, empty = box((4, 5, 6), (1, 3), (1, 3), (1, 3)), np.zeros((4, 5, 6), bool)
    pred, truth = (empty, full) if missing == "pred" else (full, empty)
    found = all_metrics(pred, truth, SPACING)
    diagonal = math.sqrt((4 * 0.7) ** 2 + (5 * 1.3) ** 2 + (6 * 2.5) ** 2)
    assert [found[k] for k in ("dice", "nsd", "cldice")] == [0, 0, 0]
    assert found["hd95"] == found["assd"] == pytest.approx(diagonal)
    ml = 8 * 0.7 * 1.3 * 2.5 / 1000
    if missing == "pred":
        assert found["volume_difference_ml"] == pytest.approx(-ml)
        assert found["volume_difference_percent"] == -100
    else:
        assert found["volume_difference_ml"] == pytest.approx(ml)
        assert math.isnan(found["volume_difference_percent"])


def test_label_metrics_penalises_a_lost_label_with_the_whole_image():
    truth = np.zeros((20, 20, 20), np.uint8)
    truth[2:6, 2:6, 2:6] = 3
    found = label_metrics(np.zeros_like(truth), truth, [3, 9], (1, 1, 1))
    assert found[3]["hd95"] == pytest.approx(20 * math.sqrt(3))
    assert found[9]["dice"] == 1  # in neither map


# ---------------------------------------------------------------------------------------------- skeleton, clDice


@pytest.mark.parametrize("size", [(1, 1, 1), (2, 2, 2), (4, 4, 4), (2, 2, 4), (5, 3, 4)])
def test_every_piece_keeps_a_skeleton_voxel(size):
    mask = np.zeros((16, 16, 16), bool)
    mask[tuple(slice(2, 2 + n) for n in size)] = True
    mask[12, 12, 12] = True
    lines = skeleton(mask)
    assert not (lines & ~mask).any()
    assert lines[:11].any()
    assert lines[12, 12, 12]


def test_the_centre_of_a_vanishing_cube_is_its_middle():
    lines = skeleton(box((6, 6, 6), (1, 5), (1, 5), (1, 5)))
    (found,) = np.argwhere(lines)
    assert (abs(found - 2.5) <= 0.5).all()


def test_cldice_of_a_broken_vessel_by_hand():
    vessel = box((40, 5, 5), (5, 35), (2, 3), (2, 3))
    broken = vessel.copy()
    broken[15:25] = False
    # Precision 1 (the pieces lie in the vessel), sensitivity 20 / 30.
    assert cldice(broken, vessel) == pytest.approx(2 * 1 * (2 / 3) / (1 + 2 / 3))


def test_cldice_does_not_care_for_thickness():
    x, y, _ = np.ogrid[:15, :15, :40]
    radius = np.hypot(x - 7, y - 7) + np.zeros((15, 15, 40))
    thin, thick = radius <= 1.5, radius <= 4.5
    assert all_metrics(thin, thick, (1, 1, 1))["dice"] < 0.3
    assert cldice(thin, thick) > 0.95


# ---------------------------------------------------------------------------------------------- independent twins


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


# ---------------------------------------------------------------------------------------------- properties, errors


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), pad=st.integers(0, 5), axes=st.permutations([0, 1, 2]))
def test_symmetric_and_blind_to_padding_and_axis_order(seed, pad, axes):
    rng = np.random.default_rng(seed)
    field = gaussian_filter(rng.normal(size=(2, 9, 10, 8)), (0, 1, 1, 1))
    pred, truth = field > 0.05
    if not (pred.any() and truth.any()):
        return
    names = ("dice", "nsd", "hd95", "assd")
    base = all_metrics(pred, truth, SPACING, 1.0)
    swapped = all_metrics(truth, pred, SPACING, 1.0)
    moved = all_metrics(
        np.pad(pred, pad).transpose(axes), np.pad(truth, pad).transpose(axes), [SPACING[a] for a in axes], 1.0
    )
    for name in names:
        assert base[name] == pytest.approx(swapped[name], abs=1e-9)
        assert base[name] == pytest.approx(moved[name], abs=1e-9)
    assert base["cldice"] == pytest.approx(swapped["cldice"])


def test_label_metrics_equals_the_single_masks():
    rng = np.random.default_rng(4)
    field = gaussian_filter(rng.normal(size=(2, 30, 30, 20)), (0, 3, 3, 2))
    pred, truth = np.digitize(field, [-0.03, 0.0, 0.03]).astype(np.uint8)
    found = label_metrics(pred, truth, [1, 2, 3], SPACING, 1.5)
    for value in (1, 2, 3):
        assert found[value] == pytest.approx(all_metrics(pred == value, truth == value, SPACING, 1.5), abs=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": np.zeros((3, 3, 4), bool)}, "one shape"),
        ({"pred": np.zeros((3, 3), bool), "truth": np.zeros((3, 3), bool)}, "3D masks"),
        ({"spacing": (1, 1, 0)}, "positive spacings"),
        ({"spacing": (1, 1)}, "positive spacings"),
        ({"tolerance_mm": -1.0}, "tolerance"),
        ({"tolerance_mm": math.nan}, "tolerance"),
    ],
)
def test_bad_input_is_named(change, message):
    given_ = {"pred": np.zeros((3, 3, 3), bool), "truth": np.zeros((3, 3, 3), bool), "spacing": (1, 1, 1)}
    with pytest.raises(InputError, match=message):
        all_metrics(**(given_ | change))
