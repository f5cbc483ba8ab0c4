"""Model and fusion on the query, label by label."""

from types import SimpleNamespace

import numpy as np
import pytest

from atlassegfm import labelling, runtime
from atlassegfm.errors import ModelError
from atlassegfm.fusion.base import ModelAlone
from atlassegfm.labelling import label_by_label
from atlassegfm.models.base import SegmentationModel
from atlassegfm.volume import Grid, Volume

GRID = Grid((30, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0]))
VALUES = range(1, 8)


class Eroding(SegmentationModel):
    """Takes the first plane of what it is asked for away; fails at the label `bad`."""

    def __init__(self, bad: int = 0) -> None:
        self.bad = bad

    def set_image(self, image: Volume) -> None:
        pass

    def segment(self, prompt):
        if prompt.value == self.bad:
            raise ModelError("no answer")
        return prompt.mask * np.roll(prompt.mask, 1, axis=1)


class Judge:
    """Keeps what it was told of."""

    def __init__(self) -> None:
        self.told = {}

    def __call__(self, value, box, fused, prior, answer):
        self.told[value] = np.count_nonzero(fused > 0.5)

    def missing(self, value):
        return f"{value} is missing"


def labels() -> np.ndarray:
    """Slabs of three planes side by side; the fourth is lost."""
    out = np.zeros(GRID.shape, np.uint8)
    for value in VALUES:
        if value != 4:
            out[4 * value - 2 : 4 * value + 1, 5:15, 5:15] = value
    return out


def run_of(**kept) -> SimpleNamespace:
    prior = SimpleNamespace(
        labels=Volume(labels(), GRID), names={v: f"label {v}" for v in VALUES}, shown=lambda value, box: []
    )
    options, query = {"prompt": "mask"}, Volume(np.zeros(GRID.shape, np.float32), GRID)
    shown = {"progress": lambda step, done: None, "warnings": [], "probabilities": None, "masks": None}
    return SimpleNamespace(prior=prior, query=query, options=options, **{**shown, **kept})


@pytest.mark.parametrize("threads", [1, 2])
def test_labels_are_fused_judged_and_compete(monkeypatch, threads):
    monkeypatch.setattr(runtime, "compute_threads", lambda: threads)
    monkeypatch.setattr(labelling, "AHEAD", 2)
    run, judge = run_of(probabilities={}, masks={}), Judge()
    taught = {v: ModelAlone() for v in VALUES if v != 6}
    final, alone = label_by_label(run, Eroding(), taught, judge)
    wanted = labels()
    wanted[:, 5] = np.where(wanted[:, 5] == 6, 6, 0)  # the label that was not taught is what the atlas says
    np.testing.assert_array_equal(final.data, wanted)
    np.testing.assert_array_equal(alone.data, wanted)
    assert run.warnings == ["4 is missing"]
    assert judge.told == {v: np.count_nonzero(wanted == v) for v in VALUES if v != 4}
    assert list(run.probabilities) == list(run.masks) == [v for v in VALUES if v != 4]
    box, mask = run.masks[2]
    np.testing.assert_array_equal(mask, (wanted == 2)[box])


def test_an_error_of_the_model_ends_it():
    with pytest.raises(ModelError, match="no answer"):
        label_by_label(run_of(), Eroding(bad=3), {v: ModelAlone() for v in VALUES}, Judge())


def test_an_error_of_the_fusion_ends_it():
    class Broken(ModelAlone):
        def apply(self, *given):
            raise ModelError("no fusion")

    with pytest.raises(ModelError, match="no fusion"):
        label_by_label(run_of(), Eroding(), {v: Broken() for v in VALUES}, Judge())
