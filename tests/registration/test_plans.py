"""Which plan takes another's place, and what fits the images."""

from __future__ import annotations

import numpy as np
import pytest

from atlassegfm.registration.focus import Focus
from atlassegfm.registration.plans import FEWEST, FEWEST_VOXELS, FLAT, NARROW, PLANS
from atlassegfm.volume import Grid, Volume


def scan(shape=(120, 120, 120), spacing=2.0) -> Volume:
    return Volume(np.zeros(shape, np.float32), Grid(shape, np.diag([spacing, spacing, spacing, 1.0])))


def box(image: Volume, share: float) -> Focus:
    """Labels whose surroundings, with a margin of 15 mm, fill about that share of the image."""
    shape = np.array(image.grid.shape)
    half = (shape * share ** (1 / 3) / 2 - 15.0 / image.spacing).astype(int)
    labels = np.zeros(image.grid.shape, np.uint8)
    labels[tuple(slice(m - h, m + h) for m, h in zip(shape // 2, half, strict=True))] = 1
    return Focus.of(Volume(labels, image.grid))


FAST = PLANS["fast"]


@pytest.mark.parametrize(("share", "narrow"), [(NARROW - 0.05, True), (NARROW + 0.05, False)])
def test_labels_of_a_part_get_finer_voxels(share, narrow):
    image = scan()
    focus = box(image, share)
    assert focus.share((image, image)) == pytest.approx(share, abs=0.04)
    plan = FAST.suited(image, image, focus)
    assert plan is (FAST.narrow if narrow else FAST)
    assert FAST.suited(image, image, None) is FAST  # nobody told where labels are
    assert FAST.narrow.spacing(image, image) < FAST.spacing(image, image)


def test_flat_images_take_two_levels():
    slices = scan((120, 120, 20))
    plan = FAST.suited(slices, slices, box(slices, 0.3))
    assert plan is FAST.flat
    assert FLAT * FAST.narrow.knobs.factors[0] * FAST.narrow.spacing(slices, slices) > 20 * 2.0
    # A flat image on either side is enough.
    assert FAST.suited(scan(), slices, None) is FAST.suited(slices, scan(), None) is FAST.flat


@pytest.mark.parametrize("quality", ["default", "best"])
def test_thorough_plans_are_the_same_for_all_images(quality):
    image = scan((120, 120, 20))
    assert PLANS[quality].suited(image, image, box(image, 0.2)) is PLANS[quality]


def test_levels_too_coarse_for_the_shortest_edge_are_left_out():
    plan = PLANS["default"]
    for edge, factors in ((4 * FEWEST, (4, 2, 1)), (4 * FEWEST - 1, (2, 1)), (2 * FEWEST - 1, (1,)), (3, (1,))):
        image = scan((100, edge, 100))
        kept = plan.fitting(image, scan())
        assert kept.factors == factors
        assert len(kept.iterations) == len(kept.edges) == len(factors)


def test_small_images_keep_their_voxels():
    """Coarser voxels save nothing where few are left."""
    small, large = scan((60, 60, 60)), scan((160, 160, 160))
    assert FAST.spacing(small, small) == 2.0
    assert FAST.spacing(large, large) == pytest.approx(2.0 * FAST.coarser)
    middle = scan((80, 80, 80))
    assert middle.grid.extent_mm.prod() / FAST.spacing(middle, middle) ** 3 == pytest.approx(FEWEST_VOXELS, rel=0.1)
