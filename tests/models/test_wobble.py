"""Prompts that are moved a little, and the agreement of the answers."""

from __future__ import annotations

import numpy as np
import pytest

from atlassegfm.models.wobble import agreement, moved, wobbled
from atlassegfm.prompts import KINDS, make_prompt
from atlassegfm.volume import Grid

GRID = Grid((20, 22, 12), np.diag([1.0, 1.0, 3.0, 1.0]))


def prompt(kind: str):
    mask = np.zeros(GRID.shape, np.float32)
    mask[5:14, 6:15, 3:8] = 1.0
    return make_prompt(kind, mask, GRID, 4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_is_the_prompt_itself_and_the_others_are_near(kind):
    original = prompt(kind)
    made = wobbled(original, GRID.spacing, 5, 2.0, seed=0)
    assert made[0] is original
    assert len(made) == 5
    assert all(p.kind == kind and p.value == 4 for p in made)
    again = wobbled(original, GRID.spacing, 5, 2.0, seed=0)
    for one, two in zip(made, again, strict=True):
        np.testing.assert_array_equal(one.mask, two.mask)
        assert (one.point, one.box) == (two.point, two.box)


def test_masks_move_by_the_length_asked_for_and_back():
    made = wobbled(prompt("mask"), GRID.spacing, 5, 3.0, seed=1)
    centres = [np.argwhere(p.mask > 0).mean(axis=0) * GRID.spacing for p in made]
    steps = [centre - centres[0] for centre in centres[1:]]
    for step in steps:
        assert 1.0 <= np.linalg.norm(step) <= 6.0
    # Pairs of opposite moves do not shift the answer as a whole.
    np.testing.assert_allclose(steps[0], -steps[1])
    np.testing.assert_allclose(steps[2], -steps[3])


def test_clicks_stay_within_the_label_and_boxes_within_the_image():
    click = prompt("click")
    for by in ((3, -3, 1), (19, 0, 0), (-30, 5, 5)):
        assert click.mask[moved(click, by).point] == 1.0
    box = prompt("box")
    for by in ((3, -3, 1), (100, -100, 4)):
        pairs = moved(box, by).box
        assert all(0 <= lo < hi <= n for (lo, hi), n in zip(pairs, GRID.shape, strict=True))
        assert [hi - lo for lo, hi in pairs] == [hi - lo for lo, hi in box.box]
    lasso = prompt("lasso")
    assert moved(lasso, (2, 1, 1)).box[lasso.axis] == lasso.box[lasso.axis]
    np.testing.assert_array_equal(moved(lasso, (2, 1, 1)).drawn, lasso.drawn)


def test_a_mask_that_would_leave_the_image_stays():
    original = prompt("mask")
    assert moved(original, (50, 0, 0)) is original


def test_agreement_is_the_share_of_answers():
    answers = [np.array([1, 1, 0], bool), np.array([1, 0, 0], bool)]
    np.testing.assert_array_equal(agreement(answers), np.array([1.0, 0.5, 0.0], np.float32))
