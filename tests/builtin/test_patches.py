"""Patches of lessons."""

import numpy as np
import pytest

from atlassegfm.builtin.augment import Lesson
from atlassegfm.builtin.encoding import CHANNELS, encode
from atlassegfm.builtin.patches import Asking, _inputs, draw_patch
from blobs import blobs, grey

ASKING = Asking((1330.0, 830.0))


def lesson(shape=(60, 50, 50)) -> Lesson:
    truth = blobs(shape)
    return Lesson(grey(truth), truth, np.roll(truth, 2, axis=1))


def test_patch_holds_every_label_there_with_its_own_inputs():
    patch = draw_patch(np.random.default_rng(0), lesson(), ASKING, most=4)
    assert patch.inputs.shape == (2, len(CHANNELS), 48, 48, 48)
    assert patch.rows.tolist() == [0, 1]
    assert patch.truth.shape == (48, 48, 48)
    assert set(patch.truth.unique().tolist()) == {0, 1, 2}


def test_no_more_labels_than_asked_for():
    patch = draw_patch(np.random.default_rng(0), lesson(), ASKING, most=1)
    assert len(patch.rows) == 1
    assert set(patch.truth.unique().tolist()) <= {0, 1}


def test_small_lessons_are_filled_up_as_tiles_are():
    patch = draw_patch(np.random.default_rng(0), lesson((44, 40, 29)), ASKING, most=4)
    assert patch.inputs.shape[2:] == (48, 40, 32)
    assert patch.truth.shape == (48, 40, 32)


def test_lost_priors_teach_nothing():
    empty = lesson()
    assert draw_patch(np.random.default_rng(0), Lesson(empty.image, empty.truth, 0 * empty.prior), ASKING, 4) is None


def test_inputs_are_those_of_use(monkeypatch):
    monkeypatch.setattr("atlassegfm.builtin.patches.EXTRA_KINDS", {})
    scene = lesson((50, 48, 44))
    whole = tuple(slice(0, n) for n in scene.truth.shape)
    own = scene.prior == 1
    wanted = encode(scene.image, own, scene.prior == 2)
    np.testing.assert_array_equal(_inputs(np.random.default_rng(0), scene, 1, ASKING, whole), wanted)


@pytest.mark.parametrize(("kind", "channel"), [("click", "click"), ("box", "box"), ("box2d", "box")])
def test_other_prompts_fill_their_channel_and_tell_nothing_of_rivals(kind, channel):
    patch = draw_patch(np.random.default_rng(0), lesson(), Asking(ASKING.sizes, kind), most=4)
    assert patch.inputs[:, CHANNELS.index(channel)].amax() > 0.5
    assert patch.inputs[:, CHANNELS.index("rivals")].amax() == -1
    assert patch.inputs[:, CHANNELS.index("prior")].amax() > 0
