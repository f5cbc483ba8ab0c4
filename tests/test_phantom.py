from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from atlassegfm.phantom import NAMES, PhantomPair, make_pair

COARSE = {"shape": (48, 40, 32), "spacing": (5.0, 5.0, 6.0)}


@pytest.fixture(scope="module")
def pair() -> PhantomPair:
    return make_pair(0, **COARSE)


def test_same_seed_same_arrays(pair):
    again = make_pair(0, **COARSE)
    for first, second in zip(pair, again, strict=True):
        if not isinstance(first, dict):
            np.testing.assert_array_equal(first.data, second.data)
            np.testing.assert_array_equal(first.affine, second.affine)


def test_another_seed_another_pair(pair):
    other = make_pair(1, **COARSE)
    assert not np.array_equal(pair.image.data, other.image.data)
    assert not np.array_equal(pair.truth.data, other.truth.data)


def test_every_organ_is_in_both_patients(pair):
    assert pair.names == NAMES
    for labels in (pair.labels, pair.truth):
        assert labels.data.dtype == np.uint8
        assert set(np.unique(labels.data)) == {0, *NAMES}


def test_volumes_are_those_of_organs():
    pair = make_pair(0)
    for labels in (pair.labels, pair.truth):
        ml = {n: (labels.data == v).sum() * labels.grid.voxel_volume_ml for v, n in NAMES.items()}
        assert 300 < ml["liver"] < 1500
        assert 30 < ml["left kidney"] < 250
        assert 30 < ml["aorta"] < 150


def test_grids_differ_in_spacing_and_axis_directions(pair):
    assert np.all(np.diag(pair.image.affine)[:3] > 0)
    assert np.all(np.sign(np.diag(pair.query.affine)[:3]) == (-1, -1, 1))
    assert not np.allclose(pair.image.spacing, pair.query.spacing)
    assert pair.image.grid.matches(pair.labels.grid)
    assert pair.query.grid.matches(pair.truth.grid)


def test_liver_lies_on_the_right_in_both(pair):
    for labels in (pair.labels, pair.truth):
        liver = labels.grid.to_world(np.argwhere(labels.data == 1)).mean(axis=0)
        spleen = labels.grid.to_world(np.argwhere(labels.data == 4)).mean(axis=0)
        assert liver[0] > spleen[0]  # +x is the patient's right


def test_images_are_finite_and_textured(pair):
    for image, labels in ((pair.image, pair.labels), (pair.query, pair.truth)):
        assert image.data.dtype == np.float32
        assert np.isfinite(image.data).all()
        assert image.data.min() >= 0
        for value in NAMES:
            assert image.data[ndimage.binary_erosion(labels.data == value)].std() > 3


def test_organs_overlap_too_little_without_registration(pair):
    """The header positions alone must not solve the demo."""
    from atlassegfm.resampling import resample_labels

    moved = resample_labels(pair.labels, pair.query.grid).data
    dice = [
        2 * np.sum((moved == v) & (pair.truth.data == v)) / np.sum((moved == v).astype(int) + (pair.truth.data == v))
        for v in NAMES
    ]
    assert np.mean(dice) < 0.65
