"""A model without a prompt: it is told nothing, and its one answer is the first label."""

from typing import ClassVar

import numpy as np
import pytest

from atlassegfm.atlas import Atlas
from atlassegfm.evaluation.availability import missing_parts
from atlassegfm.evaluation.baselines import PROCEDURES, Job
from atlassegfm.evaluation.methods import PRESETS
from atlassegfm.models.base import SegmentationModel
from atlassegfm.models.info import ModelInfo
from atlassegfm.models.registry import MODELS
from atlassegfm.volume import Grid, Volume


class Bright(SegmentationModel):
    """Finds what is bright, whatever it is asked."""

    prompts: ClassVar[list] = []

    def __init__(self, device, seed):
        pass

    def set_image(self, image):
        self.image = image

    def segment(self, prompt):
        self.prompts.append(prompt)
        return (self.image.data > 50).astype(np.float32)


@pytest.fixture
def vesselfm(monkeypatch):
    Bright.prompts.clear()
    info = ModelInfo("vesselfm", "", "3D", ("mask",), "none", target=f"{__name__}:Bright")
    monkeypatch.setitem(MODELS, "vesselfm", info)


def test_the_answer_is_the_first_label_and_the_prompt_says_nothing(vesselfm):
    grid = Grid((6, 7, 8), np.diag([1.0, 2.0, 3.0, 1.0]))
    data = np.zeros(grid.shape, np.float32)
    data[1:4, 2:5, 3:6] = 100
    labels = np.zeros(grid.shape, np.uint8)
    labels[0, 0, 0], labels[5, 5, 5] = 4, 9
    atlas = Atlas(Volume(data, grid), Volume(labels, grid), {4: "vessel", 9: "other"})
    outcome = PROCEDURES["unprompted"](Job(PRESETS["vesselfm"], atlas, Volume(data, grid), None, pool=list))
    assert np.array_equal(outcome.maps["final"].data, np.where(data > 50, 4, 0))
    assert outcome.maps["final"].data.dtype == np.uint8
    assert outcome.seconds["final"] > 0
    assert [p.mask.min() for p in Bright.prompts] == [1.0]


def test_joins_with_its_model(vesselfm, monkeypatch):
    assert missing_parts(PRESETS["vesselfm"]) == []
    assert not PRESETS["vesselfm"].sees_truth
    monkeypatch.delitem(MODELS, "vesselfm")
    assert missing_parts(PRESETS["vesselfm"]) == ["the model vesselfm"]
