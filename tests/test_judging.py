"""What reaches the quality estimate."""

import numpy as np
import pytest

from atlassegfm.atlas import Atlas
from atlassegfm.judging import LabelJudge
from atlassegfm.registration.result import RegistrationResult
from atlassegfm.registration.transform import Affine, Transform
from atlassegfm.volume import Grid, Volume

BOX = (slice(0, 20),) * 3


@pytest.fixture
def atlas() -> Atlas:
    rng = np.random.default_rng(0)
    grid = Grid((20, 20, 20), np.diag([2.0, 2.0, 2.0, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[6:14, 6:14, 6:14] = 1
    image = labels * 80.0 + rng.normal(0, 5, grid.shape)
    return Atlas(Volume(image.astype(np.float32), grid), Volume(labels, grid), {1: "cube"})


def shifted(x: float) -> RegistrationResult:
    matrix = np.eye(4)
    matrix[0, 3] = x
    return RegistrationResult(Transform((Affine(matrix),)))


def test_a_perfect_result_is_good(atlas):
    judge = LabelJudge(atlas, atlas.image, atlas.image, shifted(0), atlas.labels, shifted(0))
    mask = (atlas.labels.data == 1).astype(np.float32)
    judge(1, BOX, mask, mask, mask)
    verdict = judge.verdicts[1]
    assert verdict.word == "good"
    assert verdict.signals.roundtrip_dice == 1.0
    assert verdict.signals.agreement_dice == 1.0
    assert verdict.signals.volume_ratio == pytest.approx(1.0)
    assert verdict.signals.cut_fraction == 0.0
    assert verdict.signals.thickness_ratio == pytest.approx(1.0)
    assert verdict.signals.distortion == pytest.approx(0.0, abs=1e-6)
    assert verdict.signals.grey_ratio == pytest.approx(1.0)


def test_a_result_that_took_in_something_else_is_not_good(atlas):
    # Registration and model agree, the volume is nearly right; but half of the result shows what is no cube.
    query = atlas.image.data.copy()
    query[6:14, 6:14, 6:10] += 240.0
    judge = LabelJudge(atlas, atlas.image.with_data(query), atlas.image, shifted(0), atlas.labels, shifted(0))
    mask = (atlas.labels.data == 1).astype(np.float32)
    judge(1, BOX, mask, mask, mask)
    verdict = judge.verdicts[1]
    assert verdict.word == "check"
    assert any("times as far as in the atlas: more than one organ?" in reason for reason in verdict.reasons)


def test_a_model_elsewhere_is_not_good(atlas):
    judge = LabelJudge(atlas, atlas.image, atlas.image, shifted(0), atlas.labels, shifted(0))
    mask = (atlas.labels.data == 1).astype(np.float32)
    judge(1, BOX, mask, mask, np.roll(mask, 7, axis=0))
    assert judge.verdicts[1].word != "good"


def test_without_reverse_registration_the_inverse_affine_tells_what_is_out_of_sight(atlas):
    # Query points map 24 mm to the right in the atlas: half of the cube ends up left of the query's first voxel.
    judge = LabelJudge(atlas, atlas.image, atlas.image, shifted(20.0))
    mask = np.zeros((20, 20, 20), np.float32)
    mask[0:4, 6:14, 6:14] = 1
    judge(1, BOX, mask, mask)
    assert judge.verdicts[1].signals.cut_fraction == pytest.approx(0.5, abs=0.15)
    assert judge.verdicts[1].word != "good"


def test_a_missing_label_is_told_by_name(atlas):
    judge = LabelJudge(atlas, atlas.image, atlas.image, shifted(500.0))
    assert judge.missing(1).startswith("cube: no voxel of the atlas label")
    assert judge.verdicts[1].word == "do not use"
    assert "does not show it" in judge.verdicts[1].reasons[0]


def test_nothing_is_good_under_a_registration_that_looks_wrong(atlas):
    doubted = RegistrationResult(shifted(0).transform, {"doubts": ["the maps there and back lie far apart"]})
    judge = LabelJudge(atlas, atlas.image, atlas.image, doubted, atlas.labels, shifted(0))
    mask = (atlas.labels.data == 1).astype(np.float32)
    judge(1, BOX, mask, mask, mask)
    verdict = judge.verdicts[1]
    assert verdict.word == "do not use"
    assert verdict.score < 0.5
    assert verdict.reasons[0] == "the registration looks wrong: the maps there and back lie far apart"
