"""Learning one atlas."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from atlassegfm.builtin import customise
from atlassegfm.builtin.customise import Course, customised
from atlassegfm.builtin.patches import Asking
from blobs import augmenter, network

ASKING = Asking((1330.0, 830.0))
SHORT = Course(fewest_steps=12, most_steps=12, learning_rate=1e-2, judging_patches=4)


@pytest.fixture(scope="module")
def taught():
    return customised(network(), augmenter(), ASKING, 0, SHORT)


def test_held_out_loss_falls(taught):
    learnt, facts = taught
    assert facts["held_out_loss"]["customised"] < 0.9 * facts["held_out_loss"]["shipped"]
    assert facts["customised"] is True
    assert facts["steps"] == 12
    assert facts["learnable_parameters"] == sum(p.numel() for p in learnt.parameters())
    assert learnt.modulation.abs().max() > 0
    assert not learnt.training


def test_shipped_weights_stay_where_learning_does_not_help():
    before = network()
    reckless = replace(SHORT, learning_rate=10.0, fewest_steps=3, most_steps=3)
    learnt, facts = customised(before, augmenter(), ASKING, 0, reckless)
    assert facts["customised"] is False
    assert learnt.modulation.abs().max() == 0
    for name, value in before.state_dict().items():
        torch.testing.assert_close(learnt.state_dict()[name], value)


def test_loss_that_is_no_number_is_no_better(monkeypatch):
    losses = iter([1.0, float("nan")])
    monkeypatch.setattr(customise, "held_out_loss", lambda *args: next(losses))
    monkeypatch.setattr(customise, "_learn", lambda *args: None)
    assert customised(network(), augmenter(), ASKING, 0, SHORT)[1]["customised"] is False


def test_same_seed_same_weights_and_the_original_is_not_touched(taught):
    before = network()
    kept = {k: v.clone() for k, v in before.state_dict().items()}
    again, _ = customised(before, augmenter(), ASKING, 0, SHORT)
    for name, value in taught[0].state_dict().items():
        assert torch.equal(again.state_dict()[name], value)
    for name, value in before.state_dict().items():
        assert torch.equal(kept[name], value)


def test_cost_decides_the_number_of_steps():
    course = Course(passes=400, fewest_steps=60, most_steps=240)
    assert course.steps(4, (100, 100, 100)) == 100
    assert course.steps(2, (100, 100, 100)) == 200
    assert course.steps(40, (100, 100, 100)) == 100
    assert course.steps(1, (30, 30, 30)) == 240
    assert Course(passes=1).steps(4, (100, 100, 100)) == 60


def test_held_out_lessons_are_never_learnt_from():
    seen = []

    class Spy:
        shape = augmenter().shape

        def lesson(self, seed):
            seen.append(seed)
            return augmenter().lesson(seed)

    customised(network(), Spy(), ASKING, 0, Course(fewest_steps=2, most_steps=2, judging_patches=2))
    assert np.unique([s[0] for s in seen]).tolist() == [customise.LEARNING, customise.JUDGING]
