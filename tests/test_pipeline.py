"""Atlas and query to a segmentation, on a small synthetic pair."""

import inspect
import json

import numpy as np
import pytest

from atlassegfm.atlas import Atlas
from atlassegfm.errors import InputError, RegistrationError
from atlassegfm.fusion.base import Fusion
from atlassegfm.phantom import make_pair
from atlassegfm.pipeline import segment
from atlassegfm.registration.cache import RegistrationCache
from atlassegfm.volume import Grid, Volume


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


@pytest.fixture(scope="module")
def pair():
    return make_pair(seed=0, shape=(48, 40, 32), spacing=(5.0, 5.0, 6.0))


@pytest.fixture(scope="module")
def atlas(pair) -> Atlas:
    return Atlas(pair.image, pair.labels, pair.names)


@pytest.fixture(scope="module")
def result(atlas, pair):
    steps = []
    out = segment(atlas, pair.query, progress=lambda step, fraction: steps.append((step, fraction)))
    return out, steps


def mean_dice(found: Volume, pair) -> float:
    values = sorted(pair.names)
    return float(np.mean([dice(found.data == v, pair.truth.data == v) for v in values]))


def test_result_beats_registration_alone(result, pair):
    segmentation, _ = result
    assert mean_dice(segmentation.labels, pair) > mean_dice(segmentation.atlas_labels, pair)


def test_result_lies_on_the_query_grid_in_the_smallest_type(result, pair):
    segmentation, _ = result
    for volume in (segmentation.labels, segmentation.atlas_labels, segmentation.model_labels):
        assert volume.grid is pair.query.grid
        assert volume.data.dtype == np.uint8
        assert set(np.unique(volume.data)) <= {0, *pair.names}


def test_probabilities_are_kept_when_asked_for(atlas, pair, result):
    assert result[0].probabilities == {}
    again = segment(atlas, pair.query, keep_probabilities=True)
    assert np.array_equal(again.labels.data, result[0].labels.data)
    assert set(again.probabilities) == set(pair.names)
    for value, (box, share) in again.probabilities.items():
        assert share.shape == again.labels.data[box].shape
        assert 0 <= share.min() <= share.max() <= 1
        inside = again.labels.data[box] == value
        assert share[inside].mean() > 0.5 > share[~inside].mean()


def test_report_is_json_and_tells_each_label(result, pair):
    segmentation, _ = result
    report = json.loads(json.dumps(segmentation.report))
    assert [entry["value"] for entry in report["labels"]] == sorted(pair.names)
    for entry in report["labels"]:
        count = np.count_nonzero(segmentation.labels.data == entry["value"])
        assert entry["volume_ml"] == pytest.approx(count * pair.query.grid.voxel_volume_ml, abs=1e-3)
        assert entry["quality"]["word"] in ("good", "check", "do not use")
    assert report["parameters"]["prompt"] == "mask"
    assert report["timings"]["total"] > 0


def test_report_tells_what_was_learnt(result, pair):
    report = result[0].report
    assert report["model"]["learnable_parameters"] > 1_000_000  # the network
    assert report["model"]["trees"] == 80 * len(pair.names)
    assert {facts["learnable_parameters"] for facts in report["fusion"].values()} == {7}


def test_progress_names_the_steps(result):
    _, steps = result
    names = [step for step, _ in steps]
    for word in ("registration", "reverse registration", "model learns", "fusion learns", "model and fusion"):
        assert any(word in name for name in names), word
    assert all(0.0 <= fraction <= 1.0 for _, fraction in steps)


@pytest.mark.parametrize("several", [False, True])
def test_look_alike_places_are_those_of_the_one_atlas(atlas, pair, monkeypatch, several):
    """A fusion is shown the warped atlas; where several voted there is no image that their labels belong to."""
    shown, own = [], Fusion.apply

    def apply(self, m_atlas, m_fm, image, spacing, examples=()):
        shown.append((m_atlas, image, examples))
        return own(self, m_atlas, m_fm, image, spacing, examples)

    other = make_pair(seed=1, shape=(48, 40, 32), spacing=(5.0, 5.0, 6.0))
    atlases = [atlas, Atlas(other.image, other.labels, other.names)] if several else atlas
    monkeypatch.setattr(Fusion, "apply", apply)
    segment(atlases, pair.query, model="builtin-trees")
    on_the_query = [told for told in shown if np.shares_memory(told[1], pair.query.data)]
    assert len(on_the_query) == len(pair.names)
    if several:
        assert not any(examples for *_, examples in on_the_query)
    else:
        assert all(np.array_equal(m_atlas, examples[0][0]) for m_atlas, _, examples in on_the_query)
        alike = [np.corrcoef(image.ravel(), examples[0][1].ravel())[0, 1] for _, image, examples in on_the_query]
        assert min(alike) > 0.3, alike
        assert np.mean(alike) > 0.7, alike


def test_registration_alone_is_the_warped_label(atlas, pair):
    alone = segment(atlas, pair.query, model="none")
    np.testing.assert_array_equal(alone.labels.data, alone.atlas_labels.data)
    assert alone.model_labels is None
    assert mean_dice(alone.labels, pair) > 0.5


def test_no_query_label_can_reach_the_code():
    """Nothing that `segment` takes can carry a label of the query: the only label maps it takes are of atlases."""
    assert list(inspect.signature(segment).parameters) == [
        "atlas",
        "query",
        "model",
        "prompt",
        "registration",
        "registration_options",
        "fusion",
        "label_fusion",
        "most_atlases",
        "device",
        "seed",
        "progress",
        "cache",
        "keep_probabilities",
        "overlapping",
        "model_options",
        "weights",
        "weights_sha256",
    ]


def test_the_cache_is_asked_for_the_two_images_only(atlas, pair):
    """The one argument that code can hide in: nothing but atlas image and query reaches it, and it saves work only."""

    class Watched(RegistrationCache):
        def register(self, fixed, moving, method, settings):
            seen.append((fixed, moving, method))
            return super().register(fixed, moving, method, settings)

    seen, cache = [], Watched()
    first, second = (segment(atlas, pair.query, model="none", registration="rigid", cache=cache) for _ in range(2))
    assert len(seen) == 2
    assert all(f is pair.query and m is atlas.image and name == "rigid" for f, m, name in seen)
    np.testing.assert_array_equal(first.labels.data, second.labels.data)
    assert "seconds_saved" not in first.report
    assert second.report["seconds_saved"]["registration"] > second.report["timings"]["registration"]


def test_options_of_the_registration_reach_it_and_the_report(atlas, pair):
    told = {"iterations": "2", "voxels": 12}  # texts are made numbers, as from a command line
    out = segment(atlas, pair.query, model="none", registration="voxelmorph", registration_options=told)
    assert out.report["parameters"]["registration_options"] == {"iterations": 2, "voxels": 12}
    assert out.report["registration"]["iterations"] == 2


def test_a_label_outside_the_query_is_empty_with_a_warning(pair):
    """A label in the atlas's corner, and a query whose field of view ends well before it."""
    labels = pair.labels.data.copy()
    labels[:2, :2, :2] = 99
    box = tuple(slice(n // 8, n - n // 8) for n in pair.query.grid.shape)
    query = Volume(pair.query.data[box], pair.query.grid.cropped(box))
    out = segment(Atlas(pair.image, pair.labels.with_data(labels), {**pair.names, 99: "corner"}), query, model="none")
    assert not (out.labels.data == 99).any()
    entry = next(e for e in out.report["labels"] if e["value"] == 99)
    assert entry["quality"]["word"] == "do not use"
    assert any(w.startswith("corner: no voxel") for w in out.warnings)
    assert all((out.labels.data == v).any() for v in pair.names)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "magic"}, "unknown model 'magic'"),
        ({"registration": "magic"}, "unknown registration method"),
        (
            {"registration_options": {"speed": 9}, "registration": "voxelmorph"},
            "no option 'speed'; expected one of iter",
        ),
        ({"registration_options": {"iterations": 0}, "registration": "voxelmorph"}, "expected 1 or more, got 0"),
        ({"fusion": "magic"}, "unknown fusion"),
        ({"prompt": "shout"}, "unknown prompt"),
        ({"model": "none", "prompt": "click"}, "takes mask as prompt, not click"),
        ({"device": "tpu"}, "expected one of auto, cpu, cuda, got 'tpu'"),
    ],
)
def test_bad_options_are_told_before_any_work(atlas, pair, options, message):
    with pytest.raises(InputError, match=message):
        segment(atlas, pair.query, **options)


def test_a_query_without_contrast_is_refused(atlas):
    grid = Grid((20, 20, 20), np.diag([8.0, 8.0, 8.0, 1.0]))
    with pytest.raises(RegistrationError, match="constant"):
        segment(atlas, Volume(np.zeros(grid.shape, np.float32), grid), model="none")
