"""Metric definitions pinned by hand-computed cases and properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from atlassegfm.errors import InputError
from atlassegfm.evaluation.metrics import all_metrics, cldice, label_metrics, skeleton, surface_voxels

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


@pytest.mark.parametrize("step", [1, 40_000])
def test_label_metrics_equals_the_single_masks(step):
    rng = np.random.default_rng(4)
    field = gaussian_filter(rng.normal(size=(2, 30, 30, 20)), (0, 3, 3, 2))
    pred, truth = np.digitize(field, [-0.03, 0.0, 0.03]).astype(np.uint8)
    many = label_metrics(
        pred.astype(np.uint32) * step, truth.astype(np.uint32) * step, [step, 2 * step, 3 * step], SPACING
    )
    for value in (1, 2, 3):
        assert many[value * step] == pytest.approx(all_metrics(pred == value, truth == value, SPACING), abs=1e-9)


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
