"""Self-similarities: blind to contrast, alike where the shapes are alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlassegfm.registration import mind
from atlassegfm.registration.grids import smooth
from atlassegfm.registration.mind import PAIRS, mind_ssc


def texture(shape=(14, 12, 13), seed=0):
    return smooth(torch.rand((1, *shape), generator=torch.Generator().manual_seed(seed)), 1.0)[0]


def test_twelve_pairs_of_neighbours_of_which_none_are_opposites():
    assert len(PAIRS) == 12
    assert all(a // 2 != b // 2 for a, b in PAIRS)


def test_values_lie_between_0_and_1_and_the_most_alike_pair_has_1():
    found = mind_ssc(texture())
    assert found.shape == (12, 14, 12, 13)
    assert float(found.min()) >= 0.0
    assert torch.allclose(found.amax(dim=0), torch.ones(14, 12, 13))


@pytest.mark.parametrize("changed", [lambda x: 5.0 - 3.0 * x, lambda x: 400.0 * x - 100.0])
def test_contrast_and_scale_drop_out(changed):
    image = texture()
    assert torch.allclose(mind_ssc(changed(image)), mind_ssc(image), atol=2e-3)


def test_what_moves_takes_its_features_along():
    image = texture((20, 20, 20))
    moved = mind_ssc(torch.roll(image, 3, dims=1))
    there = torch.roll(mind_ssc(image), 3, dims=2)
    inner = (slice(None), slice(3, -3), slice(6, -3), slice(3, -3))
    assert torch.allclose(moved[inner], there[inner], atol=1e-4)


def test_a_constant_image_says_nothing():
    assert torch.equal(mind_ssc(torch.full((4, 5, 6), 7.0)), torch.ones(12, 4, 5, 6))


def test_the_number_of_threads_changes_nothing():
    image, threads = texture((40, 40, 40)), torch.get_num_threads()
    try:
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(mind_ssc(image).numpy())
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("shape", [(9, 7, 40), (1, 9, 12), (20, 17, 1), (2, 2, 2), (1, 1, 1), (40, 38, 36)])
def test_compiled_loops_give_the_bits_of_shifted_images(shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(3))
    assert torch.equal(mind._differences(image), mind.differences_by_shifts(image))
