"""The order of atlases by their likeness to a query."""

import pytest
from vote_scene import atlas, scan

from atlassegfm.atlases.ranking import Ranked, best, ranked
from atlassegfm.errors import RegistrationError
from atlassegfm.phantom import make_pair
from atlassegfm.registration.builtin import likeness
from atlassegfm.registration.result import Settings


def test_the_most_alike_come_first_and_failures_never():
    def known(fixed, moving):
        if moving is atlases[1].image:
            raise RegistrationError("nowhere alike")
        return float(moving.data.std())

    atlases = [atlas(0, seed) for seed in range(4)]
    found = ranked(atlases, scan()[0], known)
    assert found[1] == Ranked(None, "nowhere alike")
    chosen = best(found, 2)
    assert [found[n].likeness for n in chosen] == sorted((f.likeness for f in found if f.likeness), reverse=True)[:2]
    assert len(best(found, 9)) == 3


def test_the_same_body_is_more_alike_than_another():
    pair = make_pair(0, shape=(40, 34, 27), spacing=(6.0, 6.0, 7.0))
    same, other = (likeness(pair.query, image, Settings()) for image in (pair.query, pair.image))
    assert same == pytest.approx(1.0, abs=0.1)
    assert same - 0.1 > other > 0
