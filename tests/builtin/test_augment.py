"""Lessons from one atlas."""

import numpy as np

from atlassegfm.builtin.augment import Augmenter, random_intensities
from atlassegfm.overlap import dice
from blobs import augmenter, blobs, grey


def test_lessons_differ_and_repeat():
    source = augmenter()
    first, again, other = (source.lesson((2, 0, n)) for n in (0, 0, 1))
    for name in ("image", "truth", "prior"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert not np.array_equal(first.truth, other.truth)
    assert first.image.dtype == np.float32
    assert set(np.unique(first.truth)) == {0, 1, 2}


def test_image_and_truth_are_deformed_alike():
    source = augmenter()
    for number in range(4):
        lesson = source.lesson((2, 0, number))
        levels = [np.median(lesson.image[lesson.truth == v]) for v in (0, 1, 2)]
        assert levels[0] < levels[1] < levels[2]


def test_priors_err_by_as_much_as_expected():
    small, large = (
        np.mean([dice(x.prior == 1, x.truth == 1) for x in (augmenter(e).lesson((2, 0, n)) for n in range(10))])
        for e in ((0.2, 0.2), (2.0, 2.0))
    )
    assert small > 0.85
    assert 0.4 < large < small - 0.05


def test_each_label_errs_by_its_own_error():
    lessons = [augmenter((0.3, 5.0)).lesson((2, 0, n)) for n in range(10)]
    own = {v: np.mean([dice(x.prior == v, x.truth == v) for x in lessons]) for v in (1, 2)}
    assert own[1] > own[2] + 0.05


def test_contrast_keeps_its_order_and_constant_images_live():
    steps = np.repeat(np.linspace(0, 1, 6, dtype=np.float32), 12**2 * 2).reshape(12, 12, 12)
    image = random_intensities(np.random.default_rng(0), steps)
    assert np.all(np.diff([image[::-1][::-1][2 * n : 2 * n + 2].mean() for n in range(6)]) > 0)
    flat = Augmenter(np.ones(blobs().shape, np.float32), blobs(), [1.0, 1.0], [3.0, 3.0]).lesson((2, 0, 0))
    assert np.isfinite(flat.image).all()


def test_source_stays_as_it_was():
    image, labels = grey(blobs()), blobs()
    before = image.copy()
    Augmenter(image, labels, [2.0, 2.0], [3.0, 3.0]).lesson((2, 0, 0))
    np.testing.assert_array_equal(image, before)
