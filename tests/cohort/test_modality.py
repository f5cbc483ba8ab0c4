"""Scans of another kind than the atlas are refused, doubtful ones are not."""

import numpy as np
import pytest

from atlassegfm.cohort.modality import check_same_kind
from atlassegfm.errors import InputError
from atlassegfm.volume import Grid, Volume

GRID = Grid((10, 10, 10), np.eye(4))


def scan(low, high):
    return Volume(np.linspace(low, high, 1000, dtype=np.float32).reshape(10, 10, 10), GRID)


CT, MR, NORMALISED = scan(-1024, 1500), scan(0, 800), scan(-2, 5)


@pytest.mark.parametrize(("atlas", "query"), [(CT, MR), (MR, CT)])
def test_ct_and_other_are_told_apart(atlas, query):
    with pytest.raises(InputError, match="case: expected a scan of the atlas's kind"):
        check_same_kind(atlas, query, "case")


@pytest.mark.parametrize("other", [CT, MR, NORMALISED])
def test_what_is_alike_or_unknown_passes(other):
    check_same_kind(other, other, "case")
    check_same_kind(other, NORMALISED, "case")
    check_same_kind(NORMALISED, other, "case")
