"""Options of registration methods: texts become numbers, wrong ones are told in one line."""

from __future__ import annotations

import pytest

from atlassegfm.errors import InputError
from atlassegfm.registration.options import NETWORK_SIMILARITIES, NetworkOptions, read_options


def test_texts_become_the_types_of_the_fields():
    given = {
        "iterations": "60",
        "learning_rate": "1e-3",
        "similarity": "ncc",
        "smoothness": "0.5",
        "voxels": "32",
        "spacing_mm": "2",
        "bfloat16": "Yes",
        "channels_last": "0",
    }
    wanted = NetworkOptions(60, 1e-3, "ncc", 0.5, 32, 2.0, True, False)
    found = read_options("voxelmorph", NetworkOptions, given)
    assert NetworkOptions(**found) == wanted
    assert [type(value) for value in found.values()] == [int, float, str, float, int, float, bool, bool]
    assert read_options("voxelmorph", NetworkOptions, found) == found


def test_the_defaults_are_the_papers():
    options = NetworkOptions(**read_options("voxelmorph", NetworkOptions, {}))
    assert (options.iterations, options.learning_rate, options.similarity) == (1000, 1e-4, "mse")
    assert NETWORK_SIMILARITIES["mse"] == 0.01
    assert not options.bfloat16


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"iteration": "3"}, ["voxelmorph", "'iteration'", "iterations, learning_rate"]),
        ({"iterations": "many"}, ["iterations", "whole number", "'many'"]),
        ({"iterations": "0"}, ["iterations", "1 or more", "0"]),
        ({"learning_rate": "fast"}, ["learning_rate", "a number"]),
        ({"learning_rate": "nan"}, ["learning_rate", "finite"]),
        ({"learning_rate": -1.0}, ["learning_rate", "more than 0"]),
        ({"smoothness": "-1"}, ["smoothness", "0 or more"]),
        ({"voxels": "4"}, ["voxels", "8 or more"]),
        ({"spacing_mm": "0"}, ["spacing_mm", "more than 0 mm"]),
        ({"bfloat16": "maybe"}, ["bfloat16", "yes or no"]),
        ({"similarity": "ssd"}, ["similarity", "mse, ncc, mi", "'ssd'"]),
    ],
)
def test_what_does_not_fit_is_named(given, words):
    with pytest.raises(InputError) as caught:
        read_options("voxelmorph", NetworkOptions, given)
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_method_without_options_takes_none():
    assert read_options("rigid", None, {}) == {}
    with pytest.raises(InputError, match=r"rigid.*'iterations'.*takes none"):
        read_options("rigid", None, {"iterations": 3})
