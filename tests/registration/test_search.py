"""Of several alignments the one is taken under which the labels lie where they should."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from atlassegfm.registration.deformable import UNLIKE_WEIGHT, Candidate
from atlassegfm.registration.focus import Focus
from atlassegfm.registration.linear import Fit
from atlassegfm.registration.plans import PLANS
from atlassegfm.registration.result import Settings
from atlassegfm.registration.search import Search, narrow
from atlassegfm.registration.transform import Affine
from sliding import GRID, MIDDLE, SLID, label, scan


def search(focus, dof=12):
    return Search(scan(SLID, seed=8), scan(), Settings(focus=focus), PLANS["default"], dof)


def candidate(found, matrix, score):
    grid = found.levels[0][0].grid
    still, nothing = torch.zeros(3, *grid.shape), torch.zeros(grid.shape)
    return Candidate(matrix, score, still, 0.5, [0.5, 0.6], 0.6, nothing, 0.02, 1.0, 0.8)


def shifted(mm):
    matrix = np.eye(4)
    matrix[:3, 3] = mm
    return matrix


@pytest.mark.parametrize("order", [1, -1])
def test_labels_decide_between_alignments_that_fit_about_as_well(order):
    found = search(Focus.of(label()))
    right, wrong = candidate(found, shifted(-SLID), 0.60), candidate(found, np.eye(4), 0.62)
    first, second = found._by_labels([right, wrong][::order])
    np.testing.assert_array_equal(first.matrix, right.matrix)
    assert 0.0 < first.unlike < second.unlike
    assert first.rank == pytest.approx(right.rank - UNLIKE_WEIGHT * first.unlike)
    # An alignment of which the images say that it is none stays behind whatever the labels say.
    first, _ = found._by_labels([replace(right, score=right.score - 3.0), wrong])
    np.testing.assert_array_equal(first.matrix, wrong.matrix)


def test_the_search_says_how_unlike_the_labels_surroundings_are():
    by_labels, by_images = search(Focus.of(label())), search(None)
    found = by_labels.found()
    assert found[0].unlike > 0.0
    assert by_labels.attempts[0]["unlike"] == [pytest.approx(one.unlike, abs=1e-5) for one in found]
    assert by_images.found()[0].unlike == 0.0
    assert "unlike" not in by_images.attempts[0]


def test_labels_decide_where_they_are_but_a_part_of_their_image():
    pair = scan(), scan()
    everywhere = label().with_data(np.ones(GRID.shape, np.uint8))
    assert narrow(Focus.of(label()), pair)
    assert not narrow(Focus.of(everywhere), pair)
    assert not narrow(None, pair)
    assert not narrow(Focus(Focus.of(label()).corners), pair)
    # Positions in headers are what was asked for.
    assert search(Focus.of(label()), dof=0).focus is None


def test_the_surroundings_of_labels_propose_starts_of_their_own():
    found = search(Focus.of(label()))
    others = [Fit(np.eye(4), 0.5)]
    fits = found._aimed(others)
    assert 1 <= len(fits) <= found.plan.aimed
    # The organ slid; where it is now is what the surroundings of the label find, not where the body lies.
    place = Affine(fits[0].matrix)(MIDDLE + SLID)
    assert np.linalg.norm(place - MIDDLE) < 4.0
    # What others have found is not proposed once more.
    again = found._aimed([*others, *fits])
    assert not any(np.array_equal(a.matrix, b.matrix) for a in again for b in fits)
    found.plan = replace(found.plan, aimed=0)
    assert found._aimed(others) == []


def test_starts_of_the_labels_are_tried_beside_those_of_the_images(monkeypatch):
    found = search(Focus.of(label()))
    own = Fit(shifted(-SLID), 0.5)
    monkeypatch.setattr(found, "_aimed", lambda others: [own])
    tried = found.attempt()
    assert any(np.array_equal(candidate.matrix, own.matrix) for candidate in tried)
    # Turns by right angles are for headers that lie, and are asked alone.
    tried = found.attempt(wide=True)
    assert not any(np.array_equal(candidate.matrix, own.matrix) for candidate in tried)
