"""Things made of an image, kept as long as it lives."""

import gc

import numpy as np

from atlassegfm.registration.kept import Kept
from atlassegfm.volume import Grid, Volume


def image() -> Volume:
    return Volume(np.zeros((3, 4, 5), np.float32), Grid((3, 4, 5), np.eye(4)))


def test_a_thing_is_made_once_for_each_image_and_key():
    kept, made = Kept(), []
    first, second = image(), image()
    for of, key in ((first, 1), (first, 1), (first, 2), (second, 1), (first, 1)):
        thing = kept.of(of, key, lambda: made.append(None) or object())
        assert kept.of(of, key, object) is thing
    assert len(made) == 3
    assert len(kept) == 2


def test_things_go_with_their_image():
    kept, scan = Kept(), image()
    kept.of(scan, 1, object)
    del scan
    gc.collect()
    assert len(kept) == 0
