"""Arg-max between labels and background."""

import numpy as np
import pytest

from atlassegfm.competition import LabelCompetition, favouring_dice, smallest_label_type, unfavoured


def test_smallest_type_that_holds_the_values():
    assert [smallest_label_type(n).name for n in (0, 1, 255, 256, 65535, 65536)] == [
        "uint8",
        "uint8",
        "uint8",
        "uint16",
        "uint16",
        "uint32",
    ]


def contest(*probabilities: float) -> int:
    competition = LabelCompetition((1, 1, 1), np.dtype(np.uint8))
    for value, probability in enumerate(probabilities, start=1):
        competition.add(value, np.full((1, 1, 1), probability, np.float32))
    return int(competition.result()[0, 0, 0])


@pytest.mark.parametrize(
    ("probabilities", "winner"),
    [
        ((0.6,), 1),
        ((0.4,), 0),
        ((0.5,), 0),  # background wins ties
        ((0.45, 0.4), 1),  # little is left over for the background
        ((0.2, 0.3), 0),
        ((0.4, 0.4), 1),  # the lower label wins ties
        ((0.0, 0.0), 0),
        ((0.9, 0.95), 2),
    ],
)
def test_largest_probability_wins(probabilities, winner):
    assert contest(*probabilities) == winner


def test_the_order_in_which_labels_come_does_not_matter():
    shares = {1: 0.3, 2: 0.4, 3: 0.4, 4: 0.1}
    for order in ((1, 2, 3, 4), (4, 3, 2, 1), (3, 1, 4, 2)):
        competition = LabelCompetition((1, 1, 1), np.dtype(np.uint8))
        for value in order:
            competition.add(value, np.full((1, 1, 1), shares[value] / 1.2, np.float32))
        assert competition.result().item() == 2


def test_one_half_moves_to_half_the_expected_dice():
    p = np.array([0.0, 0.39, 0.4, 0.41, 1.0], np.float32)
    out = favouring_dice(p, 0.8)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out[[0, 2, 4]], [0.0, 0.5, 1.0], atol=1e-6)
    assert out[1] < 0.5 < out[3]
    np.testing.assert_allclose(favouring_dice(p, 1.0), p, atol=1e-6)


def test_threshold_of_half_the_best_dice_maximises_expected_dice():
    """The theorem behind `favouring_dice`, checked by brute force on many independent voxels."""
    rng = np.random.default_rng(0)
    p = rng.beta(0.5, 0.9, size=4000)
    thresholds = np.linspace(0.05, 0.95, 91)
    expected = [2 * p[p > t].sum() / (p.sum() + (p > t).sum()) for t in thresholds]
    best = int(np.argmax(expected))
    assert thresholds[best] == pytest.approx(expected[best] / 2, abs=0.02)


def test_box_limits_a_label_to_its_part():
    competition = LabelCompetition((4, 4, 4), np.dtype(np.uint8))
    box = (slice(1, 3), slice(0, 2), slice(2, 4))
    competition.add(7, np.ones((2, 2, 2), np.float32), box)
    expected = np.zeros((4, 4, 4), np.uint8)
    expected[box] = 7
    np.testing.assert_array_equal(competition.result(), expected)


def test_unfavoured_takes_favouring_back():
    probability = np.linspace(0.0, 1.0, 101, dtype=np.float32)
    np.testing.assert_allclose(unfavoured(favouring_dice(probability)), probability, atol=1e-6)
