import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlassegfm.errors import InputError
from atlassegfm.fusion.soft import soften
from atlassegfm.quality import (
    CHECK,
    DO_NOT_USE,
    GOOD,
    Signals,
    border_entropy,
    cut_fraction,
    expected_volume,
    judge,
    local_similarity,
    measure,
)
from atlassegfm.quality.calibration import VIEWS, Calibration
from atlassegfm.quality.verdict import REASONS, most_by_thickness, most_by_volume
from atlassegfm.volume import Grid, Volume

SPACING = (1.0, 1.0, 2.0)
BEST = Signals(
    roundtrip_dice=0.97,
    agreement_dice=0.96,
    border_entropy=0.2,
    volume_ratio=1.0,
    cut_fraction=0.0,
    similarity=0.8,
    border_dice=0.97,
    apart=0.05,
    distortion=0.1,
    thickness_ratio=1.0,
    grey_ratio=1.0,
    atlas_dice=0.95,
)
SHARE = st.one_of(st.none(), st.floats(0, 1))


def changed(**kw):
    return Signals(**{**{n: getattr(BEST, n) for n in BEST.__dataclass_fields__}, **kw})


def ball(centre=(20, 20, 10), radius=10.0, shape=(40, 40, 20)):
    offsets = (np.indices(shape) - np.reshape(centre, (3, 1, 1, 1))) * np.reshape(SPACING, (3, 1, 1, 1))
    return (offsets**2).sum(axis=0) <= radius**2


def test_all_well_is_good_and_has_nothing_to_say():
    verdict = judge(BEST)
    assert verdict.word == GOOD
    assert verdict.reasons == ()
    assert verdict.score >= 0.85


@pytest.mark.parametrize(
    ("change", "words", "reason"),
    [
        ({"empty": True}, {DO_NOT_USE}, "nothing was found"),
        ({"empty": True, "cut_fraction": 0.95}, {DO_NOT_USE}, "the query does not show it"),
        ({"cut_fraction": 0.5}, {CHECK}, "the query shows about half of it"),
        ({"cut_fraction": 0.97, "volume_ratio": 3.0}, {DO_NOT_USE}, "the query shows almost none of it"),
        ({"roundtrip_dice": 0.05, "volume_ratio": 0.5}, {CHECK, DO_NOT_USE}, "registration there and back does not"),
        ({"similarity": 0.03, "roundtrip_dice": 0.3}, {CHECK, DO_NOT_USE}, "warped atlas and query look unlike here"),
        ({"similarity": 0.1}, {DO_NOT_USE}, "warped atlas and query look unlike here"),
        ({"volume_ratio": 0.3}, {CHECK, DO_NOT_USE}, "volume is 0.3 times the expected one"),
        ({"thickness_ratio": 0.7}, {CHECK}, "it is 70 % as thick as expected"),
        ({"thickness_ratio": 0.3}, {DO_NOT_USE}, "it is 30 % as thick as expected"),
        ({"grey_ratio": 2.5}, {CHECK}, "its grey levels spread 2.5 times as far as in the atlas"),
        ({"distortion": 1.0}, {CHECK, DO_NOT_USE}, "registration bends it more"),
        ({"volume_ratio": 0.01}, {DO_NOT_USE}, "volume is less than a tenth"),
    ],
)
def test_words_and_reasons(change, words, reason):
    verdict = judge(changed(**change), "left kidney")
    assert verdict.word in words
    assert verdict.reasons[0].startswith(f"left kidney: {reason}")


def test_a_model_that_has_nothing_to_do_with_the_prior_is_told():
    verdict = judge(changed(agreement_dice=0.1))
    assert "registration and model disagree (Dice 10 %)" in verdict.reasons
    assert verdict.score < judge(BEST).score


def test_without_a_round_trip_more_is_asked_for():
    middling = changed(similarity=0.3, apart=0.15, border_dice=0.8, volume_ratio=1.1)
    told = [judge(replace(middling, roundtrip_dice=known)) for known in (0.85, None)]
    assert [verdict.word for verdict in told] == [GOOD, CHECK]
    assert 0.8 < told[1].score < 0.85
    assert told[1].reasons


def test_no_prediction_is_higher_than_the_volume_allows():
    assert most_by_volume(None) == most_by_volume(1.0) == most_by_volume(0.5) == most_by_volume(2.0) == 1.0
    assert most_by_volume(0.25) == most_by_volume(4.0) == pytest.approx(2 / 3)
    assert judge(changed(volume_ratio=0.1)).score <= most_by_volume(0.1) == pytest.approx(1 / 3)


def test_no_prediction_is_higher_than_a_torn_shape_allows():
    assert most_by_thickness(None) == most_by_thickness(1.0) == most_by_thickness(3.0) == 1.0
    assert most_by_thickness(0.4) == most_by_thickness(0.1) == pytest.approx(0.2)
    assert most_by_thickness(0.625) == pytest.approx(0.6)
    assert judge(changed(thickness_ratio=0.625)).score == pytest.approx(0.6)


def test_all_witnesses_together_condemn():
    verdict = judge(changed(roundtrip_dice=0.2, border_dice=0.2, volume_ratio=0.4, apart=0.8, agreement_dice=0.5))
    assert verdict.word == DO_NOT_USE
    assert 2 <= len(verdict.reasons) <= 5


def test_a_suspicion_keeps_the_best_result_from_being_good():
    verdict = judge(BEST, suspicions=["left and right are probably exchanged"])
    assert verdict.word == CHECK
    assert verdict.reasons == ("left and right are probably exchanged",)
    assert verdict.score == judge(BEST).score


def test_a_doubted_registration_is_not_to_be_used():
    verdict = judge(BEST, doubts=["the maps lie apart"])
    assert verdict.word == DO_NOT_USE
    assert verdict.score < 0.5
    assert verdict.interval[0] <= verdict.score <= verdict.interval[1]


TIMES = st.one_of(st.none(), st.floats(0, 50))


@given(SHARE, SHARE, SHARE, TIMES, SHARE, SHARE, SHARE, TIMES, TIMES, SHARE)
def test_verdicts_are_sound_and_json_ready(
    roundtrip, agreement, entropy, ratio, cut, border, apart, distortion, thickness, atlas
):
    signals = Signals(
        False, roundtrip, agreement, entropy, ratio, cut, 0.5, border, apart, distortion, thickness, atlas
    )
    verdict = judge(signals)
    assert 0 <= verdict.interval[0] <= verdict.score <= verdict.interval[1] <= 1
    assert verdict.word in (GOOD, CHECK, DO_NOT_USE)
    assert (verdict.word == GOOD) <= (
        verdict.score >= (0.85 if roundtrip is None else 0.8) and verdict.interval[0] >= 0.5
    )
    assert (verdict.word == DO_NOT_USE) == (verdict.score < 0.5)
    assert verdict.word == GOOD or verdict.reasons
    again = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
    assert set(again) == {"word", "score", "interval", "reasons", "signals"}


@given(st.floats(0, 1), st.floats(0, 1))
def test_better_signals_never_lower_the_prediction(one, other):
    low, high = sorted((one, other))
    for name in ("roundtrip_dice", "agreement_dice", "border_dice", "atlas_dice"):
        assert judge(changed(**{name: low})).score <= judge(changed(**{name: high})).score
    assert judge(changed(thickness_ratio=low)).score <= judge(changed(thickness_ratio=high)).score
    for name in ("apart", "distortion", "cut_fraction"):
        assert judge(changed(**{name: low})).score >= judge(changed(**{name: high})).score
    assert judge(changed(volume_ratio=low + 1e-3)).score <= judge(changed(volume_ratio=high + 1e-3)).score
    assert judge(changed(volume_ratio=1 + low)).score >= judge(changed(volume_ratio=1 + high)).score


def test_the_shipped_calibration_is_whole_and_monotone():
    shipped = Calibration.shipped()
    assert set(shipped.weights) == set(shipped.usual) == set(VIEWS) == set(REASONS)
    assert set(VIEWS) < set(Signals.__dataclass_fields__)
    assert all(weight >= 0 for weight in shipped.weights.values())
    odds, low, high = np.array(shipped.spread).T
    assert (np.diff(odds) > 0).all()
    assert (low < high).all()
    assert shipped.contributions(Signals()) == {}


def test_measure_of_a_right_result():
    truth = ball()
    prob = soften(truth, SPACING, 1.0)
    image = np.random.default_rng(0).normal(size=truth.shape) + 5 * truth
    ml = truth.sum() * 2 / 1000
    signals = measure(
        prob, prob, prob, SPACING, expected_ml=ml, cut=0.0, roundtrip=0.95, fixed=image, moved=100 - 3 * image
    )
    assert signals.agreement_dice == 1.0
    assert signals.volume_ratio == pytest.approx(1.0)
    assert signals.similarity == pytest.approx(1.0)
    assert not signals.empty


def test_measure_without_a_model_and_of_nothing():
    prob = ball().astype(np.float32)
    alone = measure(prob, prob, None, SPACING)
    assert (alone.agreement_dice, alone.border_entropy, alone.volume_ratio, alone.similarity) == (None,) * 4
    nothing = measure(prob * 0, prob * 0, prob * 0, SPACING, expected_ml=3.0, fixed=prob, moved=prob)
    assert nothing.empty
    assert nothing.agreement_dice == 0.0
    assert judge(nothing).word == DO_NOT_USE
    with pytest.raises(InputError, match="M_fm"):
        measure(prob, prob, prob[1:], SPACING)


def test_the_cut_off_part_is_not_expected():
    prob = ball().astype(np.float32)
    whole = prob.sum() * 2 / 1000
    assert measure(prob, prob, prob, SPACING, expected_ml=2 * whole, cut=0.5).volume_ratio == pytest.approx(1.0)
    assert measure(prob, prob, prob, SPACING, expected_ml=whole, cut=1.0).volume_ratio is None


def test_expected_volume_follows_the_affine_scale():
    query_to_atlas = np.diag([0.5, 1.0, 1.0, 1.0])  # the query's body is twice as wide
    query_to_atlas[:3, 3] = 30, 2, 1
    assert expected_volume(10.0, query_to_atlas) == pytest.approx(20.0)
    assert expected_volume(10.0, np.diag([-1.0, 1.0, 1.0, 1.0])) == pytest.approx(10.0)


def test_cut_fraction_counts_what_maps_outside():
    grid = Grid((10, 10, 10), np.diag([2.0, 2.0, 2.0, 1.0]))
    data = np.zeros(grid.shape, np.uint8)
    data[2:6, 3:7, 1:9] = 4
    labels = Volume(data, grid)
    assert cut_fraction(labels, 4, grid, lambda p: p) == 0.0
    assert cut_fraction(labels, 4, grid, lambda p: p + np.array([0, 0, 10.0])) == pytest.approx(0.5)
    assert cut_fraction(labels, 4, grid, lambda p: p - 100.0) == 1.0
    assert cut_fraction(labels, 7, grid, lambda p: p) == 0.0


def test_border_entropy_is_zero_for_a_hard_mask_and_one_for_no_idea():
    mask = ball()
    assert border_entropy(mask.astype(np.float32), SPACING) < 1e-4
    assert border_entropy(np.where(mask, 0.5, 0.499), SPACING) == pytest.approx(1.0, abs=1e-4)
    sharp, soft = (border_entropy(soften(mask, SPACING, tau), SPACING) for tau in (0.5, 4.0))
    assert 0 < sharp < soft < 1
    assert border_entropy(np.zeros(mask.shape), SPACING) is None
    assert border_entropy(np.ones(mask.shape), SPACING) is None


def test_border_entropy_counts_millimetres():
    prob = np.zeros((30, 30, 30), np.float32)
    prob[10:20, 10:20, 10:20] = 1
    prob[14:16, 14:16, 14:16] = 0.6  # unsure 4 voxels away from the border
    assert border_entropy(prob, (0.5, 0.5, 0.5)) > 1e-4
    assert border_entropy(prob, (3.0, 3.0, 3.0)) < 3e-5


def test_local_similarity_knows_alike_from_unlike():
    rng = np.random.default_rng(1)
    image, other = rng.normal(size=(2, 40, 40, 20))
    mask = ball()
    assert local_similarity(image, 2000 - 3 * image, mask, SPACING) == pytest.approx(1.0)
    assert local_similarity(image, other, mask, SPACING) < 0.05
    assert local_similarity(image, np.zeros_like(image), mask, SPACING) == 0.0
    assert local_similarity(image, other, mask & False, SPACING) is None
    # What is far away has no say.
    near = np.where(ball(radius=19.0), image, other)
    assert local_similarity(image, near, ball(radius=4.0), SPACING) > 0.95
