"""Agreement of atlases with each other, and with all others."""

import pytest
from vote_scene import warped

from atlassegfm.atlases.agreement import consensus_scores, pairwise_agreement


def test_pairwise_agreement_is_the_mean_dice_of_pairs():
    # Boxes of eight voxels: shifted by four they share half, by eight nothing.
    assert pairwise_agreement([warped(0), warped(0, 1)]) == {1: 1.0}
    assert pairwise_agreement([warped(0), warped(4)])[1] == pytest.approx(0.5)
    assert pairwise_agreement([warped(-4), warped(0), warped(4)])[1] == pytest.approx((0.5 + 0.5 + 0.0) / 3)
    assert pairwise_agreement([warped(0), warped(0, values=(7,))]) == {}


def test_consensus_is_with_the_mean_of_the_others():
    assert consensus_scores([warped(0)]) == [1.0]
    scores = consensus_scores([warped(0), warped(0, 1), warped(0, 2), warped(4)])
    assert scores == pytest.approx([1.0, 1.0, 1.0, 0.5])
    # A label that nobody else has says nothing.
    assert consensus_scores([warped(0), warped(0, values=(7,))]) == [1.0, 1.0]
