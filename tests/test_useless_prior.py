"""A registration that ends up 30 mm beside the place: no crash, and nothing that is recommended."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from atlassegfm.atlas import Atlas
from atlassegfm.overlap import dice
from atlassegfm.phantom import make_pair
from atlassegfm.pipeline import segment
from atlassegfm.registration.cache import RegistrationCache
from atlassegfm.registration.transform import Affine, Transform


class Beside(RegistrationCache):
    """The way to the query ends up elsewhere."""

    def __init__(self, query, shift_mm: float) -> None:
        super().__init__()
        self._query, self._aside = query, np.eye(4)
        self._aside[1, 3] = shift_mm

    def register(self, fixed, moving, method, settings):
        result, saved = super().register(fixed, moving, method, settings)
        if fixed is self._query:
            result = replace(result, transform=Transform((Affine(self._aside), *result.transform.stages)))
        return result, saved


@pytest.mark.parametrize("model", ["none", "builtin-trees"])
def test_a_prior_30_mm_off_is_not_good(model):
    pair = make_pair(1, shape=(40, 34, 27), spacing=(6.0, 6.0, 7.0))
    atlas = Atlas(pair.image, pair.labels, pair.names)
    cache = Beside(pair.query, 30.0)
    out = segment(atlas, pair.query, model=model, registration_options={"quality": "fast"}, cache=cache)
    right = segment(atlas, pair.query, model=model, registration_options={"quality": "fast"})
    for entry, other in zip(out.report["labels"], right.report["labels"], strict=True):
        lost = dice(out.labels.data == entry["value"], pair.truth.data == entry["value"])
        if lost < 0.5:
            assert entry["quality"]["word"] != "good", entry
            assert entry["quality"]["score"] < other["quality"]["score"]
    words = [entry["quality"]["word"] for entry in out.report["labels"]]
    assert "do not use" in words
