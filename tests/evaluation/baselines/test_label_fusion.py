"""Joint label fusion: weights by hand, and the case for which it was invented."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from atlassegfm.errors import InputError
from atlassegfm.evaluation.baselines.label_fusion import (
    FusionSettings,
    joint_label_fusion,
    joint_weights,
    majority_vote,
)


def test_weights_by_hand():
    # Independent errors: inverse to the expected error, as 1/1 to 1/4.
    assert joint_weights(np.diag([1.0, 4.0]), 0.0) == pytest.approx([0.8, 0.2])
    # Two atlases that err together share the weight of one; the third, equally good, has the other half.
    twins = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    assert joint_weights(twins, 1e-6) == pytest.approx([0.25, 0.25, 0.5], abs=1e-4)
    assert joint_weights(np.zeros((2, 2)), 0.1) == pytest.approx([0.5, 0.5])


def test_majority_vote_and_its_ties():
    maps = [np.array([1, 1, 2, 5]), np.array([1, 2, 3, 6]), np.array([2, 2, 3, 7])]
    assert majority_vote([m.reshape(4, 1, 1) for m in maps]).ravel().tolist() == [1, 2, 3, 5]


def scene(rng, shift):
    """A bright ball in texture; `shift` moves ball and label, as a bad registration would."""
    x, y, z = np.ogrid[:24, :24, :24]
    ball = (x - 12 - shift) ** 2 + (y - 12) ** 2 + (z - 12) ** 2 < 36
    noise = gaussian_filter(rng.normal(size=ball.shape), 1.0)
    return 100 * ball + 4 * noise / noise.std(), ball.astype(np.uint8)


def dice(a, b):
    return 2 * (a.astype(bool) & b.astype(bool)).sum() / (a.sum() + b.sum())


def test_a_good_atlas_wins_against_two_that_err_together():
    rng = np.random.default_rng(0)
    image, truth = scene(rng, 0)
    good, wrong = scene(rng, 0), scene(rng, 4)
    twin = (wrong[0] + rng.normal(size=image.shape), wrong[1])
    images, labels = zip(wrong, twin, good, strict=True)
    voted = majority_vote(labels)
    fused = joint_label_fusion(image, images, labels)
    assert dice(voted, truth) < 0.75
    assert dice(fused, truth) > 0.95


def test_brightness_and_contrast_of_an_atlas_do_not_matter():
    rng = np.random.default_rng(1)
    image, _ = scene(rng, 0)
    atlases = [scene(rng, s) for s in (0, 2, 3)]
    images, labels = zip(*atlases, strict=True)
    plain = joint_label_fusion(image, images, labels, FusionSettings(search_radius=0))
    changed = joint_label_fusion(image, [images[0] * 3 + 50, *images[1:]], labels, FusionSettings(search_radius=0))
    assert (plain != changed).mean() < 1e-3


def test_agreement_and_single_atlases_pass_through():
    rng = np.random.default_rng(2)
    image, truth = scene(rng, 0)
    assert (joint_label_fusion(image, [image], [truth]) == truth).all()
    assert (joint_label_fusion(image, [image, image * 0], [truth, truth]) == truth).all()
    with pytest.raises(InputError, match="at least one atlas"):
        joint_label_fusion(image, [], [])


def test_only_labels_that_somebody_voted_for_come_out():
    rng = np.random.default_rng(3)
    image = rng.normal(size=(8, 8, 8))
    labels = [rng.integers(0, 4, image.shape).astype(np.uint8) for _ in range(4)]
    fused = joint_label_fusion(image, [rng.normal(size=image.shape) for _ in range(4)], labels)
    assert (np.stack(labels) == fused).any(axis=0).all()
    assert fused.dtype == np.uint8
