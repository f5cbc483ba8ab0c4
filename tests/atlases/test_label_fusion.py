"""Votes of several atlases, on boxes that need no registration."""

from dataclasses import replace

import numpy as np
import pytest
from vote_scene import GRID, WHOLE, scan, truth, warped

from atlassegfm.atlases import LABEL_FUSIONS
from atlassegfm.atlases.label_fusion import fused_labels
from atlassegfm.errors import InputError
from atlassegfm.overlap import dice


def fused(kind, atlases, query=None):
    """Masks by label value, and the weights."""
    votes, weights = fused_labels(kind, query or scan(0, seed=99)[0], atlases)
    masks = {}
    for value, box, probability in votes:
        assert 0 <= probability.min() <= probability.max() <= 1
        masks[value] = np.zeros(GRID.shape, bool)
        masks[value][box] = probability >= 0.5
    return masks, weights


TWO_WRONG = [warped(4, 1), warped(4, 2), warped(0, 3)]


def test_joint_and_weighted_follow_the_image_where_the_majority_errs():
    found = {kind: dice(fused(kind, TWO_WRONG)[0][1], truth()) for kind in LABEL_FUSIONS}
    assert found["majority"] == pytest.approx(0.5)
    assert found["joint"] > 0.9
    assert found["joint"] >= found["weighted"] > found["majority"]


def test_two_that_err_together_weigh_less_than_two_that_err_apart():
    together = fused("joint", [warped(4, 1), warped(4, 1), warped(0, 3)])[1]
    apart = fused("joint", [warped(4, 1), warped(-4, 2), warped(0, 3)])[1]
    assert sum(together) == pytest.approx(1, abs=1e-3)
    assert together[2] > apart[2] > 1 / 3


def test_brightness_and_contrast_of_an_atlas_do_not_matter():
    brighter = replace(TWO_WRONG[2], image=TWO_WRONG[2].image * 3 + 50)
    plain, changed = (fused("joint", [*TWO_WRONG[:2], third])[0][1] for third in (TWO_WRONG[2], brighter))
    assert (plain != changed).mean() < 1e-3


@pytest.mark.parametrize("kind", LABEL_FUSIONS)
def test_one_atlas_and_equal_ones_pass_through(kind):
    assert np.array_equal(fused(kind, [warped(2, 1)])[0][1], scan(2)[1].data > 0)
    assert np.array_equal(fused(kind, [warped(2, 1), warped(2, 2)])[0][1], scan(2)[1].data > 0)


@pytest.mark.parametrize("kind", LABEL_FUSIONS)
def test_a_label_is_voted_on_by_those_that_have_it(kind):
    masks, _ = fused(kind, [warped(0, 1), warped(0, 2), warped(0, 3, values=(7,))])
    assert sorted(masks) == [1, 7]
    for mask in masks.values():
        assert np.array_equal(mask, truth())


def test_an_atlas_that_has_a_label_elsewhere_votes_against_it():
    elsewhere = warped(0, 2, values=(7, 1))
    del elsewhere.memberships[7]
    masks, _ = fused("majority", [warped(0, 1), elsewhere, warped(0, 3, values=(5, 1))])
    assert not masks[1].any()


def test_nobody_votes_outside_the_field_of_view():
    half = np.ones(GRID.shape, bool)
    half[12:] = False
    cut = [replace(warped(0, n), inside=half) for n in (1, 2)]
    for blind in cut:
        blind.memberships[1] = (WHOLE, (truth() & half).astype(np.float16))
    masks, _ = fused("majority", [*cut, warped(0, 3)])
    assert np.array_equal(masks[1], truth())


def test_unknown_kinds_are_refused():
    with pytest.raises(InputError, match="unknown label fusion 'vote': choose one of joint"):
        fused_labels("vote", scan()[0], TWO_WRONG)
