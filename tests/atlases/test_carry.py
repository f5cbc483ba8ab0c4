"""Several atlases carried to a query; the registration is the identity and takes no time."""

import numpy as np
import pytest
from vote_scene import atlas, scan, truth

from atlassegfm.atlases.carry import VoteSettings, carry
from atlassegfm.errors import RegistrationError
from atlassegfm.overlap import dice
from atlassegfm.registration.result import RegistrationResult
from atlassegfm.registration.transform import Affine, Transform

QUERY = scan(0, seed=99)[0]


def aligned(atlas, shown):
    return RegistrationResult(Transform((Affine(np.eye(4)),)))


def alike(fixed, moving):
    return -float(moving.data[0, 0, 0])


def carried(atlases, register=aligned, likeness=alike, most=5, label_fusion="joint"):
    settings = VoteSettings(most, label_fusion)
    return carry(atlases, QUERY, register, likeness, settings, lambda step, fraction: None)


def entries(found):
    return {entry["atlas"]: entry for entry in found.facts["list"]}


GOOD = [atlas(0, 1), atlas(1, 2), atlas(-1, 3), atlas(0, 4)]


def test_the_vote_is_better_than_a_shifted_atlas_and_says_who_voted():
    found = carried(GOOD)
    assert dice(found.prior.data == 1, truth()) > 0.97
    assert found.prior.grid is QUERY.grid
    assert [e["used"] for e in entries(found).values()] == [True] * 4
    assert sum(e["weight"] for e in entries(found).values()) == pytest.approx(1, abs=1e-3)
    assert sum(e["taught_the_model"] for e in entries(found).values()) == 1
    assert 0.8 < found.facts["agreement"]["1"] < 1
    assert found.warnings == []


@pytest.mark.parametrize("label_fusion", ["joint", "weighted", "majority", "staple"])
def test_the_order_of_the_atlases_does_not_matter(label_fusion):
    one, other = (carried(atlases, label_fusion=label_fusion) for atlases in (GOOD, GOOD[::-1]))
    assert np.array_equal(one.prior.data, other.prior.data)
    assert np.array_equal(one.lesson.data, other.lesson.data)
    assert one.support.atlas is other.support.atlas
    assert one.support.number == 5 - other.support.number


def test_an_outlier_is_left_out_with_a_warning():
    found = carried([*GOOD, atlas(9, 5)])
    assert not entries(found)[5]["used"]
    assert "atlas 5 is left out: its labels agree" in found.warnings[0]
    assert np.array_equal(found.prior.data, carried(GOOD).prior.data)


def test_an_atlas_that_fails_is_left_out_and_all_is_an_error():
    def fails(atlas, shown):
        if atlas is GOOD[1]:
            raise RegistrationError("nowhere alike")
        return aligned(atlas, shown)

    found = carried(GOOD, fails)
    assert entries(found)[2]["left_out"] == "could not be registered: nowhere alike"
    assert found.warnings == ["atlas 2 is left out: could not be registered: nowhere alike"]
    with pytest.raises(RegistrationError, match=r"none of the 2 atlases could be used: atlas 1: could not .*atlas 2"):
        carried([GOOD[1], atlas(0, 7)], lambda _, shown: fails(GOOD[1], shown))


def test_a_doubtful_registration_is_left_out_unless_all_are():
    def doubtful(images):
        def register(atlas, shown):
            found = aligned(atlas, shown)
            doubts = ["too far apart"] if any(atlas.image is image for image in images) else []
            return RegistrationResult(found.transform, {"doubts": doubts}, warnings=doubts)

        return register

    found = carried(GOOD, doubtful([GOOD[0].image]))
    assert entries(found)[1]["left_out"] == "its registration looks wrong: too far apart"
    found = carried(GOOD, doubtful([a.image for a in GOOD]))
    assert [e["used"] for e in entries(found).values()] == [True] * 4
    assert "too far apart" in found.warnings


def test_of_many_the_most_similar_ones_are_registered():
    calls = []

    def noted(atlas, shown):
        calls.append(shown)
        return aligned(atlas, shown)

    many = [*GOOD, atlas(0, 5), atlas(0, 6)]
    corners = [float(a.image.data[0, 0, 0]) for a in many]
    found = carried(many, noted, most=2)
    assert len(calls) == 2
    used = {n for n, e in entries(found).items() if e["used"]}
    assert used == {int(n) + 1 for n in np.argsort(corners)[:2]}
    others = [e for n, e in entries(found).items() if n not in used]
    assert {e["left_out"] for e in others} == {"2 others look more like the query"}
    # They are no failure: nobody has to be warned.
    assert found.warnings == []

    def blind(fixed, moving):
        if moving is many[0].image:
            raise RegistrationError("nowhere alike")
        return alike(fixed, moving)

    found = carried(many, noted, blind, most=2)
    assert found.warnings == ["atlas 1 is left out: nowhere alike"]
    assert entries(found)[1]["likeness"] is None


def test_the_lesson_is_without_the_vote_of_the_atlas_that_is_taught():
    found = carried([atlas(0, 1), atlas(3, 2)])
    other = next(c for c in found.used if c is not found.support)
    assert dice(found.lesson.data == 1, other.atlas.labels.data == 1) > 0.97
    assert np.array_equal(carried(GOOD[:1]).lesson.data, carried(GOOD[:1]).prior.data)


def test_the_atlas_with_the_most_labels_teaches():
    rich = atlas(2, 1)
    rich.labels.data[:3, :3, :3] = 4
    rich = type(rich)(rich.image, rich.labels)
    found = carried([*GOOD, rich])
    assert found.support.number == 5
    assert set(np.unique(found.prior.data)) == {0, 1, 4}
