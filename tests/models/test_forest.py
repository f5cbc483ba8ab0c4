"""Trees of one label, and those of an atlas in a file."""

import numpy as np
import pytest
from skops import io

from atlassegfm.models.forest import FOLDS, Forest, block_fold, grown, predicted, read_forests, write_forests


def lesson(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(600, 4)).astype(np.float32)
    return rows, rows[:, 0] + rows[:, 1] > 0.0


@pytest.fixture(scope="module")
def forests() -> dict[int, Forest]:
    whole, *folds = grown(0, [lesson(seed) for seed in range(1 + FOLDS)])
    return {3: Forest({1.5: 3.0, 3.0: 6.0}, 8.0, whole, tuple(folds)), 7: Forest({1.5: 3.0}, 8.0, None, ())}


def test_trees_tell_what_they_were_shown(forests):
    rows, truths = lesson(9)
    values = predicted(forests[3].whole, rows)
    assert values.dtype == np.float32
    assert np.mean((values > 0.5) == truths) > 0.93
    assert predicted(forests[3].whole, rows[:0]).shape == (0,)


def test_lessons_do_not_hear_each_other(forests):
    alone = grown(0, [lesson(1)])[0]
    rows, _ = lesson(9)
    np.testing.assert_array_equal(predicted(alone, rows), predicted(forests[3].folds[0], rows))


def test_an_error_is_settled_to_the_next_size_by_ratio(forests):
    assert [forests[3].settled(size) for size in (0.2, 2.0, 2.2, 40.0)] == [1.5, 1.5, 3.0, 3.0]


def test_a_file_gives_back_the_same_answers(forests, tmp_path):
    write_forests(forests, tmp_path / "k.skops")
    found = read_forests(tmp_path / "k.skops")
    rows, _ = lesson(9)
    assert found.keys() == forests.keys()
    assert found[3].reaches == {1.5: 3.0, 3.0: 6.0}
    assert found[3].block == 8.0
    for mine, theirs in zip((forests[3].whole, *forests[3].folds), (found[3].whole, *found[3].folds), strict=True):
        np.testing.assert_array_equal(predicted(mine, rows), predicted(theirs, rows))
    assert (found[7].whole, found[7].folds) == (None, ())


class Foreign:
    """Nothing that a file of trees holds."""


def test_what_cannot_be_read_was_not_learnt(forests, tmp_path):
    write_forests(forests, tmp_path / "cut")
    (tmp_path / "cut").write_bytes((tmp_path / "cut").read_bytes()[:2000])
    write_forests(forests, tmp_path / "hit")
    whole = (tmp_path / "hit").read_bytes()
    (tmp_path / "hit").write_bytes(whole[:1000] + b"\xff" * 40 + whole[1040:])
    (tmp_path / "text").write_text("no trees")
    io.dump([1, 2], tmp_path / "other")
    io.dump({"3": Foreign()}, tmp_path / "foreign")
    for name in ("cut", "hit", "text", "other", "foreign", "absent"):
        assert read_forests(tmp_path / name) is None


def test_blocks_of_space_go_to_one_fold():
    index = np.argwhere(np.ones((12, 12, 12), bool))
    fold = block_fold(index, np.array([1.0, 1.0, 2.0]), 4.0).reshape(12, 12, 12)
    assert set(np.unique(fold)) == set(range(FOLDS))
    blocks = fold.reshape(3, 4, 3, 4, 6, 2)
    assert (blocks == blocks[:, :1, :, :1, :, :1]).all()
