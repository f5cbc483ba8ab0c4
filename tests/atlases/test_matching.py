"""Labels of several atlases brought together."""

import pytest
from vote_scene import atlas

from atlassegfm.atlases.matching import match_labels
from atlassegfm.errors import InputError


def test_names_and_colours_of_all_and_who_lacks_what():
    found = match_labels([atlas(names={1: "liver"}), atlas(value=7, names={7: "spleen"})], ["a", "b"])
    assert found.names == {1: "liver", 7: "spleen"}
    assert sorted(found.colours) == [1, 7]
    assert found.lacking == {1: (1,), 7: (0,)}


def test_a_name_beats_none_and_spelling_does_not_matter():
    unnamed = atlas(names={2: "other"})
    found = match_labels([unnamed, atlas(names={1: "Left Kidney"}), atlas(names={1: "left_kidney"})], list("abc"))
    assert found.names == {1: "Left Kidney"}


def test_contradicting_names_are_an_error_that_names_both():
    with pytest.raises(InputError, match=r"b: calls label 1 'spleen', a calls it 'liver'.*--label-names") as error:
        match_labels([atlas(names={1: "liver"}), atlas(names={1: "spleen"})], ["a", "b"])
    assert "\n" not in str(error.value)
