"""Labels that can slide are looked for one by one; the others, and what the user turned off, stay as registered."""

import numpy as np
import pytest

from atlassegfm.atlas import Atlas
from atlassegfm.overlap import dice
from atlassegfm.pipeline import segment
from atlassegfm.prior import prior_of_one
from atlassegfm.registration.result import RegistrationResult
from atlassegfm.registration.transform import Affine, Transform
from atlassegfm.seating import seated
from sliding import SLID, organ, scan, two_labels

STILL = Transform((Affine(np.eye(4)),))


@pytest.fixture(scope="module")
def atlas():
    return Atlas(scan(), two_labels(), {1: "organ", 2: "corner"})


@pytest.fixture(scope="module")
def prior(atlas):
    return prior_of_one(atlas, RegistrationResult(STILL, {"doubts": []}), scan(SLID, seed=8))


@pytest.fixture(scope="module")
def better(prior):
    return seated(prior, scan(SLID, seed=8), "cpu")


def test_only_the_label_that_slid_is_moved(prior, better):
    assert dice(prior.labels.data == 1, organ(SLID)) < 0.35
    assert dice(better.labels.data == 1, organ(SLID)) > 0.9
    np.testing.assert_array_equal(better.labels.data == 2, prior.labels.data == 2)
    assert list(better.facts["seats"]) == ["1"]


def test_the_user_is_told_of_a_label_found_far_away(better):
    (told,) = better.warnings
    assert told.startswith("organ: looked for on its own and found 1")
    assert "mm from where" in told
    facts = better.facts["seats"]["1"]
    assert facts["moved_mm"] == pytest.approx(np.linalg.norm(SLID), abs=2.0)
    assert facts["unlike"] < facts["unlike_before"]


def test_what_the_registration_says_is_kept(prior, better):
    """As what is carried back for a lesson, and as what `--model none` would have given."""
    np.testing.assert_array_equal(better.lesson.data, prior.labels.data)
    np.testing.assert_array_equal(better.registered.data, prior.labels.data)


def test_a_label_that_was_moved_is_judged_by_its_own_map(prior, better):
    reference = better.reference(1)
    assert better.reference(2).forward is prior.teacher.forward
    assert reference.forward is not prior.teacher.forward
    assert reference.atlas is prior.teacher.atlas
    assert reference.roundtrips[1] > 0.8
    # The atlas's image lies on the query where the organ is now, too.
    inside = organ(SLID)
    assert abs(reference.moved.data[inside].mean() - scan(SLID, seed=8).data[inside].mean()) < 0.04
    assert abs(prior.teacher.moved.data[inside].mean() - scan(SLID, seed=8).data[inside].mean()) > 0.1


def test_where_nothing_is_better_the_prior_is_the_same(atlas):
    there = prior_of_one(atlas, RegistrationResult(STILL), scan(seed=9))
    assert seated(there, scan(seed=9), "cpu") is there


def test_labels_that_left_the_query_are_left_alone(atlas):
    away = np.eye(4)
    away[0, 3] = 500.0
    gone = prior_of_one(atlas, RegistrationResult(Transform((Affine(away),))), scan(SLID, seed=8))
    assert not gone.labels.data.any()
    assert seated(gone, scan(SLID, seed=8), "cpu") is gone


@pytest.mark.parametrize("seats", [True, False])
def test_in_the_pipeline(atlas, seats):
    query = scan(SLID, seed=8)
    result = segment(atlas, query, model="builtin-trees", seed=0, registration_options={"seats": seats})
    assert ("seats" in result.report["timings"]) is seats
    assert "seats" not in result.report or seats
    alone = segment(atlas, query, model="none", seed=0, registration_options={"seats": seats})
    np.testing.assert_array_equal(result.atlas_labels.data, alone.labels.data)


def test_registration_alone_is_left_as_it_is(atlas):
    assert "seats" not in segment(atlas, scan(SLID, seed=8), model="none").report["timings"]
