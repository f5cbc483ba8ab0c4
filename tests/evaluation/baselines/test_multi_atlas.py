"""Several atlases through the true registry, with the registration that needs no time."""

from dataclasses import replace

import numpy as np
import pytest

from atlassegfm.atlas import Atlas
from atlassegfm.errors import RegistrationError
from atlassegfm.evaluation.baselines import PROCEDURES, Job, multi_atlas
from atlassegfm.evaluation.methods import Method
from atlassegfm.volume import Grid, Volume

GRID = Grid((24, 20, 16), np.diag([1.0, 1.0, 2.0, 1.0]))


def scan(shift, value=1, seed=0):
    """A bright box on texture, `shift` voxels along the first axis."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels[6 + shift : 14 + shift, 5:15, 4:12] = value
    noise = np.random.default_rng(seed).normal(0, 3, GRID.shape)
    return Volume((100.0 * (labels > 0) + noise).astype(np.float32), GRID), Volume(labels, GRID)


def atlas(shift, seed):
    return Atlas(*scan(shift, seed=seed), {1: "box"})


def run(procedure, pool, **options):
    query, _ = scan(0, seed=99)
    method = Method("x", registration="identity", model="none", procedure=procedure, options=tuple(options.items()))
    return PROCEDURES[procedure](Job(method, pool[0], query, None, pool=lambda: pool, device="cpu"))


def dice(found):
    truth = scan(0)[1].data > 0
    return 2 * ((found.data > 0) & truth).sum() / ((found.data > 0).sum() + truth.sum())


POOL = [atlas(3, 1), atlas(3, 2), atlas(0, 3)]


def test_majority_follows_the_majority_and_joint_fusion_the_image():
    voted, fused = run("majority-vote", POOL), run("label-fusion", POOL)
    assert dice(voted.maps["final"]) == pytest.approx(5 / 8)
    assert dice(fused.maps["final"]) > 0.95
    assert (fused.maps["atlas"].data == POOL[0].labels.data).all()
    assert fused.maps["final"].grid.matches(GRID)
    assert fused.facts == {"atlases": 3, "atlases_lost": 0}


def test_at_most_so_many_atlases_the_own_first():
    assert run("majority-vote", POOL, atlases=1).facts["atlases"] == 1
    assert run("majority-vote", [POOL[0]] * 9).facts["atlases"] == multi_atlas.MOST_ATLASES


def test_an_atlas_that_cannot_be_registered_is_left_out(monkeypatch):
    true_register = multi_atlas.register

    def fails_for_the_first(fixed, moving, method, settings):
        if moving is POOL[0].image:
            raise RegistrationError("nowhere alike")
        return true_register(fixed, moving, method, settings)

    monkeypatch.setattr(multi_atlas, "register", fails_for_the_first)
    assert run("majority-vote", POOL).facts == {"atlases": 2, "atlases_lost": 1}
    with pytest.raises(RegistrationError, match="none of the 1 atlases could be registered: nowhere alike"):
        run("majority-vote", POOL[:1])


def test_options_of_the_registration_reach_every_atlas(monkeypatch):
    told = []
    true_register = multi_atlas.register

    def notes(fixed, moving, method, settings):
        told.append(dict(settings.options))
        return true_register(fixed, moving, method, replace(settings, options={}))

    monkeypatch.setattr(multi_atlas, "register", notes)
    query, _ = scan(0, seed=99)
    settings = {"procedure": "majority-vote", "registration_options": (("iterations", 5),)}
    method = Method("x", registration="identity", model="none", **settings)
    PROCEDURES["majority-vote"](Job(method, POOL[0], query, None, pool=lambda: POOL, device="cpu"))
    assert told == [{"iterations": 5}] * 3


def test_label_types_of_different_size_meet():
    big = Atlas(*scan(0, value=1, seed=5))
    wide = big.labels.with_data(np.where(big.labels.data == 1, 300, 0).astype(np.uint16))
    found = run("majority-vote", [Atlas(big.image, wide), big, Atlas(big.image, wide)])
    assert set(np.unique(found.maps["final"].data)) == {0, 300}
