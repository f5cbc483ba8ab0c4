"""Features of the voxelwise model: distances, ranks, surroundings."""

import numpy as np
import pytest

from atlassegfm.models.features import (
    appearance_features,
    image_features,
    prior_features,
    rank_intensities,
    signed_distance,
)


def test_signed_distance_of_a_slab_is_exact_in_mm():
    mask = np.zeros((3, 12, 3), bool)
    mask[:, 4:8] = True
    spacing = np.array([2.0, 1.5, 4.0])
    profile = signed_distance(mask, spacing)[1, :, 1]
    # Borders lie half-way between voxels 3|4 and 7|8, at 3.5 and 7.5.
    centres = np.arange(12)
    expected = np.maximum(3.5 - centres, centres - 7.5) * 1.5
    np.testing.assert_allclose(profile, expected, atol=1e-5)


@pytest.mark.parametrize("full", [False, True])
def test_signed_distance_without_a_border_is_far(full):
    distance = signed_distance(np.full((4, 4, 4), full), np.ones(3))
    assert np.all(distance < -6) if full else np.all(distance > 6)


def test_ranks_do_not_depend_on_a_monotone_change_of_contrast():
    rng = np.random.default_rng(0)
    image = rng.gamma(3.0, 40.0, size=(20, 20, 20))
    region = np.zeros(image.shape, bool)
    region[3:17, 3:17, 3:17] = True
    before, after = rank_intensities(image, region), rank_intensities(np.sqrt(image) * 5 + 100, region)
    np.testing.assert_allclose(before[region], after[region], atol=0.01)
    assert before[region].min() == pytest.approx(0.0, abs=1e-3)
    assert before[region].max() == pytest.approx(1.0, abs=1e-3)


def test_ranks_survive_an_image_of_two_values():
    image = np.zeros((8, 8, 8))
    image[4:] = 3.0
    ranks = rank_intensities(image, np.ones(image.shape, bool))
    assert np.isfinite(ranks).all()
    assert ranks[0, 0, 0] < ranks[7, 0, 0]


def test_every_feature_is_finite_and_has_the_shape_of_the_crop():
    rng = np.random.default_rng(1)
    ranks = rng.random((14, 12, 5)).astype(np.float32)
    mask = np.zeros(ranks.shape, bool)
    mask[4:9, 3:8, 1:4] = True
    rivals = np.roll(mask, 5, axis=0)
    spacing = np.array([1.25, 1.25, 7.7])
    distance = signed_distance(mask, spacing)
    features = [
        *image_features(ranks, spacing),
        *appearance_features(ranks, distance, 6.0, spacing),
        *prior_features(distance, rivals, 6.0, spacing),
    ]
    assert len(features) == 28
    for feature in features:
        assert feature.shape == ranks.shape
        assert np.isfinite(feature).all()


def test_appearance_tells_the_bright_core_from_its_dark_surroundings():
    ranks = np.full((24, 24, 24), 0.2, np.float32)
    ranks[8:16, 8:16, 8:16] = 0.8
    distance = signed_distance(ranks > 0.5, np.ones(3))
    ratio = next(iter(appearance_features(ranks, distance, 3.0, np.ones(3))))
    assert ratio[12, 12, 12] > 1.0
    assert ratio[1, 1, 1] < -1.0
