"""What the model answers on the atlas."""

import numpy as np
import pytest

from atlassegfm.answers import Answered, union_box
from atlassegfm.competition import favouring_dice
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.volume import Grid, Volume

GRID = Grid((40, 40, 30), np.diag([4.0, 4.0, 6.0, 1.0]))


class Half(SegmentationModel):
    """Half sure of what it is asked."""

    def set_image(self, image: Volume) -> None:
        pass

    def segment(self, prompt):
        return np.float32(0.5) * prompt.mask


@pytest.fixture
def support() -> Support:
    truth = np.zeros(GRID.shape, np.uint8)
    truth[15:25, 15:25, 12:20] = 3
    image = np.random.default_rng(0).normal(size=GRID.shape).astype(np.float32)
    return Support(Volume(image, GRID), Volume(truth, GRID), Volume(np.roll(truth, 2, axis=0), GRID))


def test_it_is_cut_out_of_the_atlas(support):
    answered = Answered.of(Half(), support, 3)
    assert answered.box == (slice(12, 30), slice(12, 28), slice(10, 22))
    np.testing.assert_array_equal(answered.prior, (support.priors.data == 3)[answered.box])
    assert answered.answer.max() == favouring_dice(np.array([0.5], np.float32))[0]


def test_the_example_has_the_image_and_the_truth_there(support):
    answered = Answered.of(Half(), support, 3)
    example = answered.example(support, 3)
    np.testing.assert_array_equal(example.truth, (support.truth.data == 3)[answered.box])
    np.testing.assert_array_equal(example.image, support.image.data[answered.box])
    np.testing.assert_array_equal(example.m_atlas, answered.prior)
    np.testing.assert_array_equal(example.m_fm, answered.answer)


def test_a_file_gives_back_the_same_and_holds_no_image(support, tmp_path):
    answered = Answered.of(Half(), support, 3)
    answered.write(tmp_path / "a.npz")
    found = Answered.read(tmp_path / "a.npz")
    assert found.box == answered.box
    for mine, theirs in ((answered.prior, found.prior), (answered.answer, found.answer)):
        assert mine.dtype == theirs.dtype
        np.testing.assert_array_equal(mine, theirs)
    with np.load(tmp_path / "a.npz") as arrays:
        assert set(arrays) == {"box", "prior", "answer"}


def test_what_cannot_be_read_was_not_answered(support, tmp_path):
    Answered.of(Half(), support, 3).write(tmp_path / "cut")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:200])
    Answered.of(Half(), support, 3).write(tmp_path / "hit.npz")
    whole = (tmp_path / "hit.npz").read_bytes()
    (tmp_path / "hit.npz").write_bytes(whole[: len(whole) // 2] + b"\xff" * 40 + whole[len(whole) // 2 + 40 :])
    (tmp_path / "text").write_text("no arrays")
    np.savez(tmp_path / "other.npz", box=np.zeros((3, 2)))
    for name in ("cut", "hit.npz", "text", "other.npz", "absent"):
        assert Answered.read(tmp_path / name) is None


def test_box_covers_both_maps_and_their_surroundings():
    first, second = np.zeros((20, 20, 20)), np.zeros((20, 20, 20))
    assert union_box(first, second, np.ones(3)) == (slice(0, 1),) * 3
    first[9, 9, 9] = second[11, 9, 9] = 1
    box = union_box(first, second, np.array([4.0, 6.0, 12.0]))
    assert [(s.start, s.stop) for s in box] == [(6, 15), (7, 12), (8, 11)]
