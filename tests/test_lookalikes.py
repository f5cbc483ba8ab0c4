"""The share of what the warped atlas shows in look-alike places nearby."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from atlassegfm.compiled import run_parts
from atlassegfm.fusion.lookalike_kernels import vote
from atlassegfm.fusion.lookalikes import _voxels, follow_lookalikes
from atlassegfm.overlap import dice
from balls import SPACING, ball

TRUTH = ball(10.0)


def scan(truth, seed, *, noise=3.0):
    """A bright ball in its own texture, which both subjects have, and each scan's own noise."""
    texture = ndimage.gaussian_filter(np.random.default_rng(9).normal(0, 400, truth.shape), 3.0)
    return (100 + 60 * truth + texture + np.random.default_rng(seed).normal(0, noise, truth.shape)).astype(np.float32)


def moved(values, by=1):
    return np.roll(values, by, axis=0)


QUERY = scan(TRUTH, 1)
WARPED, LABEL = moved(scan(TRUTH, 2)), moved(TRUTH).astype(np.float32)


def unsure(mask):
    """A map that sides with `mask`, but hardly."""
    return np.where(mask, 0.52, 0.48).astype(np.float32)


def test_a_label_that_lies_a_voxel_aside_is_found_by_what_the_places_look_like():
    before = unsure(LABEL > 0)
    after = follow_lookalikes(before, LABEL, QUERY, WARPED, SPACING)
    assert after.dtype == np.float32
    assert after.min() >= 0
    assert after.max() <= 1
    assert 1 - dice(after >= 0.5, TRUTH) < 0.5 * (1 - dice(before >= 0.5, TRUTH))


def test_who_is_sure_is_not_outvoted():
    """The share is below one half."""
    sure = (LABEL > 0).astype(np.float32)
    np.testing.assert_array_equal(follow_lookalikes(sure, LABEL, QUERY, WARPED, SPACING) >= 0.5, LABEL > 0)


@pytest.mark.parametrize("warped", [-WARPED, np.roll(WARPED, 11, axis=1), np.zeros_like(WARPED)])
def test_images_that_are_not_alike_have_no_say(warped):
    before = unsure(LABEL > 0)
    assert follow_lookalikes(before, LABEL, QUERY, warped, SPACING) is before


def test_the_scanners_contrast_does_not_matter():
    before = unsure(LABEL > 0)
    first = follow_lookalikes(before, LABEL, QUERY, WARPED, SPACING)
    other = 1000 + 0.01 * (WARPED + 500.0) ** 2  # gain, offset and gamma
    np.testing.assert_allclose(follow_lookalikes(before, LABEL, QUERY, other, SPACING), first, atol=0.02)


def test_far_from_the_label_nothing_is_said():
    """A model that found the organ elsewhere keeps it: no patch in reach holds another answer."""
    elsewhere = unsure(moved(TRUTH, 14))
    after = follow_lookalikes(elsewhere, LABEL, QUERY, WARPED, SPACING)
    far = ndimage.distance_transform_edt(~(LABEL > 0), sampling=SPACING) > 4
    deep = ndimage.distance_transform_edt(LABEL > 0, sampling=SPACING) > 4
    np.testing.assert_array_equal(after[far | deep], elsewhere[far | deep])
    assert (after != elsewhere).any()


@pytest.mark.parametrize("label", [np.zeros_like(LABEL), np.ones_like(LABEL)])
def test_a_label_without_a_border_has_nothing_to_propagate(label):
    before = unsure(TRUTH)
    assert follow_lookalikes(before, label, QUERY, WARPED, SPACING) is before


def test_millimetres_not_voxels():
    assert _voxels(2.0, np.array([1.0, 1.0, 1.0])).tolist() == [2, 2, 2]
    assert _voxels(2.0, np.array([0.7, 0.7, 0.7])).tolist() == [2, 2, 2]
    assert _voxels(2.0, np.array([1.25, 1.25, 7.7])).tolist() == [3, 3, 0]  # 4.6 mm
    assert _voxels(1.0, np.array([1.25, 1.25, 7.7])).tolist() == [2, 2, 0]


def slow_vote(query, atlas, label, reach, patch, width, least):
    """The formula written out, voxel by voxel."""
    border = [r + p for r, p in zip(reach, patch, strict=True)]
    out = np.empty([n - 2 * b for n, b in zip(query.shape, border, strict=True)])

    def at(image, place):
        return image[tuple(slice(c - p, c + p + 1) for c, p in zip(place, patch, strict=True))].astype(np.float64)

    for voxel in np.ndindex(*out.shape):
        centre = np.add(voxel, border)
        places = [centre + np.subtract(step, reach) for step in np.ndindex(*(2 * np.array(reach) + 1))]
        apart = np.array([((at(query, centre) - at(atlas, place)) ** 2).mean() for place in places])
        weights = np.exp(-apart / (width * (apart.min() + least)))
        out[voxel] = weights @ [label[tuple(place)] for place in places] / weights.sum()
    return out


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("reach", "patch"), [((1, 2, 1), (1, 1, 1)), ((1, 1, 0), (2, 1, 0)), ((0, 0, 1), (0, 0, 0))])
def test_the_vote_is_the_papers(reach, patch, threads):
    query, atlas, label = np.random.default_rng(3).random((3, 9, 10, 8)).astype(np.float32)
    out = np.empty([n - 2 * (r + p) for n, r, p in zip(query.shape, reach, patch, strict=True)], np.float32)
    run_parts(vote, len(out), threads, query, atlas, label, reach, patch, np.float32(2.0), np.float32(1e-3), out)
    np.testing.assert_allclose(out, slow_vote(query, atlas, label, reach, patch, 2.0, 1e-3), atol=1e-5)
