import inspect
import json
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from atlassegfm import fusion
from atlassegfm.errors import InputError
from atlassegfm.fusion import FUSIONS, LOOKING, edges, fit, fit_many
from atlassegfm.fusion.base import Example, Fusion
from atlassegfm.fusion.kalman import EDGES_COST, KalmanFusion, _mean_loss, _Table, fit_kalman, max_pools
from atlassegfm.fusion.soft import settled, signed_distance, soften
from atlassegfm.overlap import dice
from atlassegfm.runtime import side_by_side

LEARNT = ("kalman", "gate")
SPACING = (1.0, 1.0, 2.0)


class Case:
    """A bright organ in a noisy image, and maps of it that err in a known way."""

    def __init__(self, seed=0, shape=(44, 44, 26), centre=(22, 22, 13)):
        self.rng = np.random.default_rng(seed)
        self.index = np.indices(shape)
        self.truth = self.ball(centre)
        self.image = 100 + 60 * self.truth + self.rng.normal(0, 12, shape).astype(np.float32)

    def ball(self, centre, radius=11.0):
        offsets = (self.index - np.reshape(centre, (3, 1, 1, 1))) * np.reshape(SPACING, (3, 1, 1, 1))
        return (offsets**2).sum(axis=0) <= radius**2

    def right(self):
        """As the truth, with a rough border."""
        noise = ndimage.gaussian_filter(self.rng.normal(size=self.truth.shape), 1.5)
        return soften(signed_distance(self.truth, SPACING) + 4 * noise > 0, SPACING, 1.0)

    def shifted(self, mm=5.0):
        """The organ where it is not."""
        step = np.round(np.array([mm, 0, 0]) / SPACING).astype(int)
        return soften(ndimage.shift(self.truth.astype(np.float32), step, order=1), SPACING, 1.0)

    def noise(self):
        return self.rng.random(self.truth.shape, dtype=np.float32)

    def half(self, left):
        """Right in one half, nothing in the other."""
        keep = (self.index[0] <= 22) if left else (self.index[0] > 22)
        return self.right() * keep

    def learn(self, kind, m_atlas, m_fm, **kw):
        return fit(kind, m_atlas, m_fm, self.truth, self.image, SPACING, **kw)

    def score(self, prob):
        return dice(np.asarray(prob) >= 0.5, self.truth)


@pytest.fixture(scope="module")
def pair():
    """Support and query: another place, another noise, another gain of the scanner."""
    query = Case(seed=1, centre=(20, 24, 12))
    query.image = 2.0 * query.image + 50
    return Case(seed=0), query


def transfer(kind, pair, atlas, model):
    """Dice on the query of the atlas map, the model map and their fusion, learnt on the support."""
    support, query = pair
    learnt = support.learn(kind, atlas(support), model(support))
    m_atlas, m_fm = atlas(query), model(query)
    fused = learnt.apply(m_atlas, m_fm, query.image, SPACING)
    assert fused.dtype == np.float32
    assert fused.min() >= 0
    assert fused.max() <= 1
    return query.score(m_atlas), query.score(m_fm), query.score(fused)


@pytest.mark.parametrize("kind", LEARNT)
def test_right_model_and_shifted_atlas_follows_the_model(kind, pair):
    atlas, model, fused = transfer(kind, pair, Case.shifted, Case.right)
    assert atlas < model
    assert fused >= model - 0.005


@pytest.mark.parametrize("kind", LEARNT)
@pytest.mark.parametrize("useless", [Case.noise, lambda case: np.zeros(case.truth.shape)], ids=["noise", "empty"])
def test_useless_model_follows_the_atlas(kind, useless, pair):
    atlas, _, fused = transfer(kind, pair, lambda case: case.shifted(2), useless)
    assert fused >= atlas - 0.01


@pytest.mark.parametrize("kind", LEARNT)
def test_a_model_that_misses_the_label_on_the_atlas_is_not_followed_on_a_query(kind, pair):
    # Empty on the support, and huge on the query: what was learnt must not let it in.
    support, query = pair
    learnt = support.learn(kind, support.shifted(2), np.zeros(support.truth.shape, np.float32))
    huge = ndimage.binary_dilation(query.truth, iterations=6).astype(np.float32)
    fused = learnt.apply(query.shifted(2), huge, query.image, SPACING)
    assert query.score(fused) >= query.score(query.shifted(2)) - 0.01


@pytest.mark.parametrize("kind", LEARNT)
def test_each_right_in_its_half_beats_both(kind, pair):
    atlas, model, fused = transfer(kind, pair, lambda case: case.half(True), lambda case: case.half(False))
    assert fused > max(atlas, model) + 0.1


def test_gates_learnt_side_by_side_are_those_learnt_alone():
    def learnt(seed):
        case = Case(seed)
        return case.learn("gate", case.shifted(), case.right(), seed=seed % 2).network.state_dict()

    seeds = [0, 1, 2, 3]
    for alone, beside in zip(map(learnt, seeds), side_by_side(learnt, seeds), strict=True):
        assert all(torch.equal(alone[name], beside[name]) for name in alone)


def test_gate_uses_the_image_where_the_masks_cannot_tell(pair):
    """The model leaks on one side and is cut on the other; only the image knows which voxels are right."""

    def leaky(case):
        return np.roll(case.shifted(4), -8, axis=0)

    atlas, model, fused = transfer("gate", pair, Case.shifted, leaky)
    assert fused > max(atlas, model) + 0.05


@pytest.mark.parametrize("kind", LEARNT)
def test_shifted_support_of_both_never_does_worse_than_the_worse(kind, pair):
    atlas, model, fused = transfer(kind, pair, lambda case: case.shifted(30), lambda case: case.shifted(30))
    assert fused >= min(atlas, model) - 0.01


def test_paper_kind_barely_moves_the_gain(pair):
    support, _ = pair
    maps = support.shifted(), support.right()
    paper, ours = (support.learn(kind, *maps) for kind in ("kalman-paper", "kalman"))
    start = KalmanFusion.constant(0.5).gain(*maps)
    assert np.abs(paper.gain(*maps) - start).max() < 0.002
    assert np.abs(ours.gain(*maps) - start).max() > 0.2
    assert paper.facts["loss_before"] - paper.facts["loss_after"] < 1e-3
    assert ours.facts["loss_before"] - ours.facts["loss_after"] > 1e-2
    assert (paper.tau_mm, paper.habit, paper.facts["kind"]) == (None, None, "kalman-paper")


def test_learnable_parameters_are_told(pair):
    support, _ = pair
    maps = support.shifted(), support.right()
    told = {kind: support.learn(kind, *maps).facts["learnable_parameters"] for kind in FUSIONS}
    taps = 2 * (7 * 27 * 8 + 8)  # two dilations of 3x3x3 from 7 channels to 8
    assert told == {"kalman": 7, "kalman-paper": 7, "gate": taps + (16 * 16 + 16) + (16 + 1), "none": 0}


def test_gain_follows_equations_4_and_5(pair):
    support, _ = pair
    a, f = support.shifted(), support.right()
    weights = np.array([[0.5, -1.0, 2.0], [-2.0, 0.3, 0.1]])
    mix = 0.25
    for row, values in zip(weights, (a, f), strict=True):
        for w, kernel in zip(row, (3, 5, 7), strict=True):
            pooled = torch.nn.functional.max_pool3d(torch.tensor(values)[None], kernel, 1, kernel // 2)[0]
            mix = mix + w * pooled.numpy()
    gain = 1 / (1 + np.exp(-mix))
    learnt = KalmanFusion(weights, 0.25)
    np.testing.assert_allclose(learnt.gain(a, f), gain, atol=1e-6)
    np.testing.assert_allclose(learnt.apply(a, f, support.image, SPACING), f + gain * (a - f), atol=0.011)


@given(hnp.arrays(np.float32, st.tuples(*[st.integers(1, 6)] * 3), elements=st.floats(0, 1, width=32)))
def test_pools_are_torchs(values):
    for kernel, pooled in zip((3, 5, 7), max_pools(values), strict=True):
        expected = torch.nn.functional.max_pool3d(torch.tensor(values)[None], kernel, 1, kernel // 2)[0].numpy()
        np.testing.assert_array_equal(pooled, expected)


def test_gradient_is_the_slope_of_the_loss(pair):
    support, _ = pair
    example = Example.checked(support.shifted(), support.right(), support.truth, support.image, SPACING)
    tables = [_Table.of(example, np.random.default_rng(0))]
    at = np.linspace(-1, 1, 7)
    gradient = _mean_loss(tables, at)[1]
    for n in range(7):
        step = np.eye(7)[n] * 1e-2
        slope = (_mean_loss(tables, at + step)[0] - _mean_loss(tables, at - step)[0]) / 2e-2
        assert gradient[n] == pytest.approx(slope, abs=2e-5)


def test_worse_than_one_map_alone_takes_the_best_constant(pair, monkeypatch):
    support, _ = pair
    monkeypatch.setitem(fusion.kalman.SETTINGS, "kalman", {"rate": -0.5, "steps": 20})  # learns the wrong way
    learnt = support.learn("kalman", support.shifted(), support.right())
    assert learnt.facts["chosen"] == "constant"
    assert learnt.facts["support_dice"]["fused"] >= learnt.facts["support_dice"]["model"]


@pytest.mark.parametrize("kind", FUSIONS)
def test_empty_maps_follow_the_other_one(kind, pair):
    support, query = pair
    learnt = support.learn(kind, support.shifted(), support.right())
    nothing, something = np.zeros(query.truth.shape, np.float32), query.right()
    assert not learnt.apply(nothing, nothing, query.image, SPACING).any()
    if kind != "none":
        fused = learnt.apply(something, nothing, query.image, SPACING)
        np.testing.assert_array_equal(fused >= 0.5, something >= 0.5)
    np.testing.assert_array_equal(learnt.apply(nothing, something, query.image, SPACING), something)


@pytest.mark.parametrize("kind", LEARNT)
def test_model_that_loses_the_label_on_the_query_is_not_followed(kind, pair):
    support, query = pair
    learnt = support.learn(kind, support.shifted(2), support.right())
    atlas = query.shifted(2)
    leak = np.full(query.truth.shape, 0.9, np.float32)
    speck = query.ball((5, 5, 5), 2.0).astype(np.float32)
    elsewhere = query.ball((40, 40, 20)).astype(np.float32)
    for lost in (leak, speck, elsewhere):
        fused = learnt.apply(atlas, lost, query.image, SPACING)
        np.testing.assert_array_equal(fused >= 0.5, atlas >= 0.5)


@pytest.mark.parametrize("kind", LEARNT)
def test_hard_masks_are_softened_so_that_fusion_can_move_the_border(kind, pair):
    """Bare contours on both sides of the truth: a blend of hard masks can only give one of the two."""

    def shell(mm):
        return lambda case: (signed_distance(case.truth, SPACING) > mm).astype(np.float32)

    atlas, model, fused = transfer(kind, pair, shell(-3.0), shell(3.0))
    assert fused > max(atlas, model) + 0.1


#: Below one half: where neighbours leave little to the background, a label wins with less.
CUT = 0.4


@pytest.mark.parametrize("kind", LEARNT)
@pytest.mark.parametrize("form", ["hard", "probability"])
def test_a_bad_model_leaves_the_contour_of_the_atlas_wherever_it_is_cut(kind, form, pair):
    """The soft band is for weighing contours: cut below one half it would make every label larger."""
    support, query = pair

    def bad(case):
        elsewhere = ndimage.binary_dilation(case.ball((22, 30, 13), 7.0)).astype(np.float32)
        return elsewhere if form == "hard" else soften(elsewhere, SPACING, 1.0)

    def atlas(case):
        return case.ball((23, 22, 13)).astype(np.float32)

    learnt = support.learn(kind, atlas(support), bad(support))
    alone, fused = atlas(query), learnt.apply(atlas(query), bad(query), query.image, SPACING)
    assert query.score(fused >= CUT) > query.score(alone) - 0.01
    if kind == "kalman":
        # What looks at the image too, the gate and the edges, may move the border for the better.
        assert learnt.edges
        learnt.edges = False
        assert dice(learnt.apply(atlas(query), bad(query), query.image, SPACING) >= CUT, alone >= 0.5) > 0.99


def test_bands_of_neighbours_do_not_add_up_to_a_label_between_them(pair, monkeypatch):
    support, query = pair
    empty = np.zeros(query.truth.shape, np.float32)
    left, right = (query.ball(c, 7.0).astype(np.float32) for c in ((14, 22, 13), (30, 22, 13)))
    learnt = support.learn("kalman", support.truth.astype(np.float32), np.roll(support.truth, 9, 0).astype(np.float32))
    maps = [learnt.apply(m, np.roll(m, 3, 1), query.image, SPACING) for m in (left, right)]
    between = (left + right == 0) & (np.sum([m >= 0.5 for m in maps], axis=0) == 0)
    # The query's own organ lies there, and the diffusion tells of it; the background wins nevertheless.
    assert (1.0 - np.sum(maps, axis=0) > np.max(maps, axis=0))[between].all()
    monkeypatch.setattr(edges, "diffused", lambda probability, *_: probability)
    maps = [learnt.apply(m, np.roll(m, 3, 1), query.image, SPACING) for m in (left, right)]
    between = (left + right == 0) & (np.sum([m >= 0.5 for m in maps], axis=0) == 0)
    assert np.sum(maps, axis=0)[between].max() < 0.5
    learnt.edges = False
    maps = [learnt.apply(m, np.roll(m, 3, 1), query.image, SPACING) for m in (left, right)]
    assert np.sum(maps, axis=0)[between].max() < CUT
    assert not learnt.apply(empty, empty, query.image, SPACING).any()


@pytest.mark.parametrize("kind", LEARNT)
def test_a_border_that_both_inputs_miss_is_drawn_to_the_edge(kind, pair):
    support, query = pair

    def larger(case):
        return ndimage.binary_dilation(case.truth).astype(np.float32)

    learnt = support.learn(kind, larger(support), larger(support))
    assert learnt.edges
    assert learnt.facts["edges_gain"] > 0
    assert learnt.facts["edges_followed"] is True
    fused = learnt.apply(larger(query), larger(query), query.image, SPACING)
    assert query.score(fused) > query.score(larger(query)) + 0.02


def test_edges_that_cost_much_on_the_support_are_not_followed(pair):
    """An image in which the label has no border: its edges lead astray."""
    support, _ = pair
    truth, prior = (support.ball((22, 22, 13), r) for r in (9.0, 9.5))
    noise = np.kron(np.random.default_rng(0).random((22, 22, 13)), np.ones((2, 2, 2))).astype(np.float32)
    learnt = fit("kalman", prior, truth, truth, noise, SPACING)
    assert learnt.facts["edges_gain"] < -EDGES_COST
    assert learnt.facts["edges_followed"] is False
    assert not learnt.edges


def test_the_papers_fusion_does_not_look_at_edges(pair):
    support, _ = pair
    assert not support.learn("kalman-paper", support.shifted(), support.right()).edges


def test_settled_maps_keep_their_contour_and_probabilities_stay():
    maps = np.linspace(0.0, 1.0, 101, dtype=np.float32)
    np.testing.assert_allclose(settled(maps, 0.0), maps, atol=1e-5)
    sharp = settled(maps, 1.0)
    np.testing.assert_array_equal(sharp >= 0.5, maps >= 0.5)
    assert sharp[maps < 0.49].max() < 0.05
    assert sharp[50] == pytest.approx(0.5, abs=1e-3)


def test_a_model_that_is_followed_keeps_its_probability(pair):
    support, query = pair
    learnt = support.learn("kalman", support.shifted(), support.right())
    learnt.edges = False
    model = query.right()
    fused = learnt.apply(query.shifted(), model, query.image, SPACING)
    inside = (model > 0.2) & (model < 0.8)
    assert np.abs(fused - model)[inside].mean() < 0.05


@pytest.mark.parametrize("kind", LEARNT)
@pytest.mark.parametrize("blank", ["m_atlas", "m_fm", "truth", "both", "all", "image"])
def test_degenerate_lessons_still_give_a_fusion(kind, blank, pair):
    support, query = pair
    lesson = {"m_atlas": support.shifted(), "m_fm": support.right(), "truth": support.truth, "image": support.image}
    for name in {"both": ("m_atlas", "m_fm"), "all": lesson}.get(blank, (blank,)):
        lesson[name] = np.zeros_like(lesson[name])
    learnt = fit(kind, **lesson, spacing=SPACING)
    out = learnt.apply(query.shifted(), query.right(), query.image, SPACING)
    assert np.isfinite(out).all()
    json.dumps(learnt.facts, allow_nan=False)


@pytest.mark.parametrize("kind", FUSIONS)
def test_same_seed_same_bytes_and_the_global_seed_is_left_alone(kind, pair):
    support, query = pair
    maps, again = (support.shifted(), support.right()), []
    for outer in (1, 2):
        torch.manual_seed(outer)
        before = torch.random.get_rng_state()
        learnt = support.learn(kind, *maps, seed=3)
        assert torch.equal(before, torch.random.get_rng_state())
        again.append(learnt.apply(*maps, query.image, SPACING).tobytes())
    assert again[0] == again[1]


def test_no_way_in_for_a_query_label(pair):
    apply = list(inspect.signature(Fusion.apply).parameters)
    assert apply == ["self", "m_atlas", "m_fm", "image", "spacing", "shown"]
    for kind in FUSIONS:
        support, query = pair
        truth = support.truth.copy()
        maps = support.shifted(), support.right()
        learnt = fit(kind, *maps, truth, support.image, SPACING)
        assert list(inspect.signature(type(learnt).apply).parameters) == apply
        first = learnt.apply(query.shifted(), query.truth, query.image, SPACING)
        truth[:] = False  # a fusion keeps no hold on the label that it learnt from
        held = [v for v in vars(learnt).values() if isinstance(v, np.ndarray)]
        assert sum(v.size for v in held) <= 6
        np.testing.assert_array_equal(learnt.apply(query.shifted(), query.truth, query.image, SPACING), first)
        assert len(pickle.dumps(learnt)) < 60_000


@pytest.mark.parametrize("kind", LEARNT)
def test_far_specks_and_padding_change_nothing_near(kind, pair):
    support, query = pair
    learnt = support.learn(kind, support.shifted(), support.right())
    maps = query.shifted(), query.right()
    padded = [np.pad(m, 9) for m in (*maps, query.image)]
    small = learnt.apply(*maps, query.image, SPACING)
    assert small[0, 0, 0] < 1e-6
    if kind == "kalman":
        # Windows at the array's edge see what was padded, so the filter may differ there by a trace.
        np.testing.assert_allclose(learnt.apply(*padded, SPACING)[9:-9, 9:-9, 9:-9], small, atol=1e-3)
        learnt.edges = False
        small = learnt.apply(*maps, query.image, SPACING)
        np.testing.assert_allclose(learnt.apply(*padded, SPACING)[9:-9, 9:-9, 9:-9], small, atol=1e-5)


def test_several_lessons_count_the_same(pair):
    support, _ = pair
    one = Example.checked(support.shifted(), support.right(), support.truth, support.image, SPACING)
    single, double = fit_kalman([one]), fit_many("kalman", [one, one])
    np.testing.assert_allclose(single.weights, double.weights, atol=1e-5)
    assert double.facts["lessons"] == 2


def test_bad_input_is_named(pair):
    support, _ = pair
    maps = support.shifted(), support.right()
    with pytest.raises(InputError, match=r"fusion 'mean'.*kalman"):
        support.learn("mean", *maps)
    with pytest.raises(InputError, match=r"M_fm of the 3D shape"):
        support.learn("kalman", maps[0], maps[1][1:])
    with pytest.raises(InputError, match=r"M_atlas.*NaN"):
        support.learn("kalman", maps[0] * np.nan, maps[1])
    with pytest.raises(InputError, match=r"spacings"):
        fit("kalman", *maps, support.truth, support.image, (1, 1, 0))


def test_importing_the_package_does_not_import_torch():
    code = "import sys, atlassegfm.fusion; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_signed_distance_is_exact_on_flat_borders_of_an_anisotropic_grid():
    mask = np.zeros((12, 5, 9), bool)
    mask[6:] = True
    np.testing.assert_allclose(signed_distance(mask, (2.0, 1.0, 3.0))[:, 2, 4], 2 * (np.arange(12) - 5.5), atol=1e-5)
    mask = np.zeros((5, 4, 9), bool)
    mask[..., 3:] = True
    np.testing.assert_allclose(signed_distance(mask, (1.0, 1.0, 3.0))[2, 2], 3 * (np.arange(9) - 2.5), atol=1e-5)


def test_signed_distance_of_a_ball_is_within_half_a_voxel():
    index = np.indices((31, 31, 16)).astype(float)
    radius = np.sqrt((index[0] - 15) ** 2 + (index[1] - 15) ** 2 + (2 * (index[2] - 8)) ** 2)
    error = signed_distance(radius <= 9, (1, 1, 2)) - (9 - radius)
    assert np.abs(error).max() < 1.0
    assert np.abs(error).mean() < 0.5


def test_soften_keeps_the_contour_and_counts_in_mm():
    mask = np.zeros((20, 20, 20), np.float32)
    mask[5:12, 6:14, 7:13] = 1
    for spacing in ((1, 1, 1), (0.5, 1, 4)):
        soft = soften(mask, spacing, 2.0)
        np.testing.assert_array_equal(soft >= 0.5, mask >= 0.5)
        assert soft.dtype == np.float32
    fine, coarse = soften(mask, (1, 1, 1), 2.0), soften(mask, (2, 2, 2), 4.0)
    np.testing.assert_allclose(fine, coarse, atol=1e-5)
    assert soften(mask, (1, 1, 1), 2.0)[4, 10, 10] == pytest.approx(1 / (1 + np.exp(0.25)), abs=1e-4)


def test_soften_empty_full_and_bad_width():
    assert not soften(np.zeros((4, 4, 4)), (1, 1, 1)).any()
    assert (soften(np.ones((4, 4, 4)), (1, 1, 1)) == 1).all()
    with pytest.raises(InputError, match="positive width"):
        soften(np.ones((4, 4, 4)), (1, 1, 1), 0.0)


def test_look_alike_places_of_the_warped_atlas_have_a_share(pair):
    """In our own fusion, not in the paper's, and not where the atlas is another picture."""
    _, query = pair
    maps = np.roll(query.truth, 1, 0).astype(np.float32), np.clip(soften(query.truth, SPACING, 1.0), 0.1, 0.9)
    for kind, shares in (("kalman", True), ("gate", True), ("kalman-paper", False), ("none", False)):
        learnt = pair[0].learn(kind, pair[0].shifted(), pair[0].right())
        alone = learnt.apply(*maps, query.image, SPACING)
        other, same = (maps[0], -query.image), (maps[0], 3 * query.image - 7)
        np.testing.assert_array_equal(learnt.apply(*maps, query.image, SPACING, [other]), alone)
        assert (learnt.apply(*maps, query.image, SPACING, [same]) != alone).any() == shares
        assert (kind in LOOKING) == shares  # what `closer` goes by


def test_a_second_example_has_a_share_of_its_own(pair):
    """Of what the first has left."""
    support, query = pair
    learnt = support.learn("kalman", support.shifted(), support.right())
    maps, right = (query.shifted(), query.shifted()), (query.truth.astype(np.float32), query.image)
    found = [learnt.apply(*maps, query.image, SPACING, [right] * number) for number in range(3)]
    off = [np.abs(fused - query.truth).mean() for fused in found]
    assert off[2] < off[1] < off[0]


@pytest.mark.parametrize("part", [0, 1])
def test_a_warped_atlas_of_another_shape_is_refused(pair, part):
    support, query = pair
    learnt = support.learn("kalman", support.shifted(), support.right())
    example = [query.shifted(), query.image]
    example[part] = example[part][1:]
    with pytest.raises(InputError, match="expected warped atlas of the 3D shape"):
        learnt.apply(query.shifted(), query.right(), query.image, SPACING, [tuple(example)])
