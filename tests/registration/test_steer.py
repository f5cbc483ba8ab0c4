"""A registration is steered towards where a label was found, and stays smooth; what has no seat stays."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from atlassegfm.overlap import dice
from atlassegfm.registration.builtin import deformable
from atlassegfm.registration.deformable import Deformed
from atlassegfm.registration.focus import Focus
from atlassegfm.registration.grids import determinant
from atlassegfm.registration.plans import PLANS
from atlassegfm.registration.result import Settings
from atlassegfm.registration.search import Search
from atlassegfm.registration.seat import Seat
from atlassegfm.registration.steer import steered
from atlassegfm.registration.transform import Affine, Displacement, Transform
from atlassegfm.resampling import warp_labels
from sliding import GRID, SLID, label, organ, scan, two_labels

CPU = torch.device("cpu")


def known(turn):
    """A registration that is right but for the organ; its matrix may be wrong as long as its field makes up for it."""
    matrix, field = np.eye(4), np.zeros((*GRID.shape, 3), np.float32)
    matrix[:3, 3] = turn
    field -= np.asarray(turn, np.float32)
    return Transform((Displacement(GRID, field), Affine(matrix)))


@pytest.mark.parametrize("turn", [(0.0, 0.0, 0.0), (6.0, -4.0, 2.0)])
def test_the_organ_is_carried_nearer_and_the_other_label_stays(turn):
    away = np.eye(4)
    away[:3, 3] = -SLID
    seat = Seat(Transform((Affine(away),)), SLID, 0.2, 0.1, scan(), 0.9)
    forward = known(turn)
    u = steered(forward, {1: seat}, two_labels(), GRID, CPU)
    found = Transform((Displacement.of_voxels(GRID, u.numpy()), Affine(forward.matrix)))
    carried = warp_labels(two_labels(), GRID, found).data
    before = dice(organ(), organ(SLID))
    assert dice(carried == 1, organ(SLID)) > before + 0.3
    assert dice(carried == 2, two_labels().data == 2) > 0.97
    assert float(determinant(u).min()) > 0.0


def left_behind(similarity, levels=3):
    """A registration on its way that missed the organ altogether, and says so by its similarity."""
    settings = Settings(options={"quality": "best"}, focus=Focus.of(two_labels()))
    search = Search(scan(SLID, seed=8), scan(), settings, PLANS["best"], dof=0)
    search.levels, search.knobs = search.levels[-levels:], search.knobs.of(range(3 - levels, 3))
    start = replace(search.found()[0], matrix=np.eye(4))
    still = Displacement(GRID, np.zeros((*GRID.shape, 3), np.float32))
    return search, start, Deformed(still, [[0.0]] * (levels - 1) + [[similarity]], 0.0, scan())


@pytest.mark.parametrize("levels", [3, 2, 1])
def test_what_the_levels_left_behind_is_fetched(levels):
    search, start, missed = left_behind(0.0, levels)
    bent, facts = search.steered(start, missed)
    carried = warp_labels(two_labels(), GRID, Transform((bent.field, Affine(start.matrix)))).data
    assert dice(organ(), organ(SLID)) < 0.35
    assert dice(carried == 1, organ(SLID)) > 0.8
    assert dice(carried == 2, two_labels().data == 2) > 0.9
    assert facts["steered"] is True
    assert list(facts["seats"]) == ["1"]
    assert facts["seats"]["1"]["moved_mm"] > 10.0
    assert bent.folding == 0.0
    assert max(bent.history[-1]) > 0.0


def test_what_brings_the_images_no_closer_is_not_taken():
    search, start, missed = left_behind(1.0)
    bent, facts = search.steered(start, missed)
    assert bent is missed
    assert facts["steered"] is False
    assert list(facts["seats"]) == ["1"]


@pytest.mark.parametrize("options", [{"quality": "fast"}, {}, {"quality": "best", "seats": False}])
def test_lesser_qualities_look_for_no_label_nor_does_who_is_told_not_to(options):
    settings = Settings(options=options, focus=Focus.of(two_labels()))
    assert "seats" not in deformable(scan(), scan(seed=8), settings).metrics


@pytest.mark.parametrize("focus", [None, Focus.of(two_labels()).exchanged()], ids=["no labels", "the query's"])
def test_without_labels_of_the_atlas_there_is_nothing_to_look_for(focus):
    assert "seats" not in deformable(scan(), scan(seed=8), Settings(options={"quality": "best"}, focus=focus)).metrics


def test_where_nothing_is_found_the_registration_stays():
    facts = deformable(scan(seed=8), scan(), Settings(options={"quality": "best"}, focus=Focus.of(label()))).metrics
    assert facts["seats"] == {}
    assert facts["steered"] is False
