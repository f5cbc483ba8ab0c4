"""What the fusion is taught on the atlas."""

import inspect
from dataclasses import replace

import numpy as np
import pytest

from atlassegfm import fusing
from atlassegfm.fusing import fit_fusions
from atlassegfm.harder import ANSWERS
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.overlap import dice
from atlassegfm.volume import Grid, Volume

GRID = Grid((48, 40, 36), np.diag([2.0, 2.0, 2.0, 1.0]))


def scene() -> tuple[Volume, Volume]:
    """A large ball (1), and a thin plate (2)."""
    where = np.indices(GRID.shape).astype(float)
    labels = np.zeros(GRID.shape, np.uint8)
    labels[np.linalg.norm(where - np.array([16, 20, 18])[:, None, None, None], axis=0) < 11] = 1
    labels[36:38, 6:34, 6:30] = 2
    image = np.random.default_rng(0).normal(0.0, 0.1, GRID.shape) + labels
    return Volume(image.astype(np.float32), GRID), Volume(labels, GRID)


class Answering(SegmentationModel):
    """Says what the truth is, dilated or not, whatever it is asked; keeps what it was asked."""

    def __init__(self, answers: dict[int, np.ndarray], name: str | None = None) -> None:
        self.answers, self.asked, self.name = answers, [], name

    def identity(self, value):
        return self.name and f"{self.name} {value}"

    def set_image(self, image: Volume) -> None:
        pass

    def segment(self, prompt):
        self.asked.append((prompt.value, prompt.mask))
        return self.answers[prompt.value].astype(np.float32)


@pytest.fixture(scope="module")
def support() -> Support:
    image, truth = scene()
    # The way there and back hardly shows: the prior is the truth but for one layer of voxels.
    return Support(image, truth, truth.with_data(np.roll(truth.data, 1, axis=1)))


@pytest.fixture(scope="module")
def good(support):
    model = Answering({v: support.truth.data == v for v in (1, 2)})
    return model, fit_fusions(model, support, "kalman", 0)


def test_each_label_is_asked_for_with_the_round_trip_and_with_a_displaced_prior(support, good):
    model, fusions = good
    assert list(fusions) == [1, 2]
    assert sorted(value for value, _ in model.asked) == [1, 1, 2, 2]
    for value in (1, 2):
        found = [dice(mask > 0.5, support.truth.data == value) for asked, mask in model.asked if asked == value]
        assert found[0] == dice(support.priors.data == value, support.truth.data == value)
        # Neither perfect nor hopeless: both would teach nothing.
        assert 0.3 < found[1] < 0.985


def test_a_model_that_is_right_is_followed_where_the_round_trip_looks_better_than_it_is(support, good):
    fusion = good[1][1]
    truth = (support.truth.data == 1).astype(np.float32)
    prior = np.roll(truth, 3, axis=0)
    assert dice(fusion.apply(prior, truth, support.image.data, GRID.spacing) > 0.5, truth > 0) > 0.98


def test_a_model_that_is_wrong_on_the_atlas_is_not_followed(support):
    wrong = Answering({v: np.roll(support.truth.data == v, 9, axis=2) for v in (1, 2)})
    fusion = fit_fusions(wrong, support, "kalman", 0)[1]
    prior = (support.truth.data == 1).astype(np.float32)
    fused = fusion.apply(prior, np.roll(prior, 9, axis=2), support.image.data, GRID.spacing)
    assert dice(fused > 0.5, prior > 0) > 0.9


def test_nothing_is_asked_for_a_fusion_that_learns_nothing(support):
    model = Answering({})
    assert set(fit_fusions(model, support, "none", 0)) == {1, 2}
    assert model.asked == []


def test_no_query_reaches_the_fusion():
    assert list(inspect.signature(fit_fusions).parameters) == ["session", "support", "kind", "seed", "progress"]


def test_same_seed_same_fusion(support, good):
    again = fit_fusions(Answering({v: support.truth.data == v for v in (1, 2)}), support, "kalman", 0)
    for value, fusion in good[1].items():
        assert fusion.facts == again[value].facts


class TestFurtherQueries:
    """What does not depend on the query is asked once by a process, and once of all if the model says so."""

    @pytest.fixture(autouse=True)
    def _nothing_known(self, monkeypatch, tmp_path):
        monkeypatch.setenv("ATLASSEGFM_HOME", str(tmp_path))
        ANSWERS.memory.forget()

    @pytest.fixture
    def further(self, support) -> Support:
        """What came back from another query."""
        return replace(support, priors=support.truth.with_data(np.roll(support.truth.data, -1, axis=0)))

    @staticmethod
    def model(support: Support, name: str | None) -> Answering:
        return Answering({v: np.roll(support.truth.data == v, 1, axis=0) for v in (1, 2)}, name)

    def test_the_model_is_asked_about_the_round_trip_only(self, support, further):
        fit_fusions(self.model(support, "a"), support, "kalman", 0)
        again, fresh = self.model(support, "a"), self.model(support, None)
        recalled = fit_fusions(again, further, "kalman", 0)
        assert sorted(value for value, _ in again.asked) == [1, 2]
        for value, mask in again.asked:
            np.testing.assert_array_equal(mask > 0.5, further.priors.data == value)
        for value, fusion in fit_fusions(fresh, further, "kalman", 0).items():
            assert fusion.facts == recalled[value].facts
        assert len(fresh.asked) == 4

    @pytest.mark.parametrize(("lasting", "times"), [(True, 2), (False, 4)])
    def test_another_process_asks_again_unless_the_model_lasts(self, support, further, lasting, times, tmp_path):
        first, again = self.model(support, "a"), self.model(support, "a")
        first.lasting = again.lasting = lasting
        before = fit_fusions(first, further, "kalman", 0)
        ANSWERS.memory.forget()
        after = fit_fusions(again, further, "kalman", 0)
        assert len(again.asked) == times
        assert [f.facts for f in before.values()] == [f.facts for f in after.values()]
        assert len(list((tmp_path / "customised").glob("*.npz"))) == (2 if lasting else 0)

    @pytest.mark.parametrize("names", [("a", "b"), (None, None)])
    def test_another_model_is_asked_itself(self, support, names):
        for name in names:
            model = self.model(support, name)
            fit_fusions(model, support, "kalman", 0)
            assert len(model.asked) == 4

    def test_another_seed_and_another_image_are_asked_about(self, support):
        fit_fusions(self.model(support, "a"), support, "kalman", 0)
        brighter = replace(support, image=support.image.with_data(support.image.data + 1))
        for lesson, seed in ((support, 1), (brighter, 0)):
            model = self.model(support, "a")
            fit_fusions(model, lesson, "kalman", seed)
            assert len(model.asked) == 4

    def test_a_notice_is_told_by_every_run(self, support):
        class Noticing(Answering):
            def segment(self, prompt):
                self.notices.append("the label leaves the picture")
                return super().segment(prompt)

        for _ in range(2):
            model = Noticing({v: support.truth.data == v for v in (1, 2)}, "n")
            fit_fusions(model, support, "kalman", 0)
            assert len(model.notices) == 4


def test_lessons_of_many_labels_are_taken_in_turns(support, good, monkeypatch):
    """A turn's round trips come first; the fusions are those of one turn."""
    monkeypatch.setattr(fusing, "TURN", 1)
    model = Answering({v: support.truth.data == v for v in (1, 2)})
    fusions = fit_fusions(model, support, "kalman", 0)
    order = [value for value, _ in model.asked]
    assert order in ([1, 1, 2, 2], [2, 2, 1, 1])
    assert [f.facts for f in fusions.values()] == [f.facts for f in good[1].values()]


def test_progress_is_told_at_each_question(support):
    """A foundation model may take minutes for one."""
    model, told = Answering({v: support.truth.data == v for v in (1, 2)}), []
    fit_fusions(model, support, "kalman", 0, lambda done: told.append((done, len(model.asked))))
    assert told == [(0.0, 0), (0.25, 1), (0.5, 2), (0.75, 3)]
