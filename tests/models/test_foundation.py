"""What all adapters share, and each adapter through its real package on fabricated weights in the published format."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

import echoes
from atlassegfm.atlas import Atlas
from atlassegfm.errors import InputError, ModelError
from atlassegfm.models.base import prompt_from_labels
from atlassegfm.models.foundation import seeded, shrunk, spoken
from atlassegfm.models.loaded import forget
from atlassegfm.models.registry import create_model, model_info
from atlassegfm.pipeline import segment
from atlassegfm.volume import Grid, Volume
from fabricated import FABRICATED, QUICK

NAMES = sorted(FABRICATED)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Name of a model to its fabricated weights, made once."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = FABRICATED[name](tmp_path_factory.mktemp(name))
        return made[name]

    return of


@pytest.fixture(scope="module")
def scene() -> tuple[Volume, Volume]:
    """A left-handed grid with slices of 2 mm along its first axis; two bright boxes that touch."""
    affine = np.array([[0, 0, -1.25, 20], [0, 1.5, 0, -30], [2.0, 0, 0, 5], [0, 0, 0, 1]])
    grid = Grid((12, 26, 24), affine)
    labels = np.zeros(grid.shape, np.uint8)
    labels[4:8, 6:16, 5:14] = 1
    labels[4:8, 16:22, 5:14] = 2
    noise = np.random.default_rng(0).normal(60, 12, grid.shape)
    return Volume((noise + 90.0 * (labels > 0)).astype(np.float32), grid), Volume(labels, grid)


@pytest.mark.parametrize("name", NAMES)
def test_real_code_answers_every_prompt_on_fabricated_weights(name, weights, scene):
    image, labels = scene
    model = create_model(name, device="cpu", seed=0, weights=weights(name), options=QUICK.get(name))
    model.load()
    model.set_image(image)
    info, answers = model_info(name), {}
    for kind in info.prompts:
        prompt = prompt_from_labels(labels, 1, kind)
        if name == "nninteractive" and kind == "box":
            with pytest.raises(InputError, match="--prompt box: these weights take mask, click"):
                model.segment(prompt)
            continue
        answers[kind] = model.segment(prompt)
        assert answers[kind].dtype == np.float32
        assert answers[kind].shape == image.grid.shape
        assert np.isfinite(answers[kind]).all()
        assert 0.0 <= answers[kind].min() <= answers[kind].max() <= 1.0
        assert answers[kind].max() > 0.0
    facts = model.describe()
    assert json.dumps(facts)
    assert len(facts["weights"]["sha256"]) == 64
    own = {"nninteractive": "Fabricated for tests"}
    assert facts["weights"]["licence"] == own.get(name, info.weights.licence)
    # The same question gets the same answer, in a session of its own.
    again = create_model(name, device="cpu", seed=0, weights=weights(name), options=QUICK.get(name))
    again.set_image(image)
    kind = info.prompts[0]
    np.testing.assert_array_equal(again.segment(prompt_from_labels(labels, 1, kind)), answers[kind])


@pytest.mark.parametrize("name", [name for name in NAMES if name != "medsam"])
def test_other_weights_are_refused_in_one_line_with_path_and_hash(name, weights, scene, tmp_path):
    weights(name)  # skips where the package is missing
    import torch

    wrong = tmp_path / "wrong.pt"
    torch.save({"nothing": torch.zeros(2)}, wrong)
    target = wrong
    if name in ("sam", "sam2", "nninteractive"):
        target = tmp_path / "folder"
        (target / "fold_0").mkdir(parents=True)
        (target / "config.json").write_text("{}", encoding="utf-8")
        torch.save({"nothing": torch.zeros(2)}, target / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(ModelError) as caught:
        create_model(name, device="cpu", seed=0, weights=target).load()
    assert str(target) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["vesselfm", "sam-med3d", "medsam2"])
def test_a_truncated_file_is_refused_by_name_and_hash(name, weights, tmp_path):
    whole = weights(name).read_bytes()
    broken = tmp_path / "broken.pt"
    broken.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"broken\.pt \(SHA-256 [0-9a-f]{64}\)"):
        create_model(name, device="cpu", seed=0, weights=broken).load()


def test_the_pipeline_runs_it_and_the_report_names_model_hash_and_licence(weights, scene):
    image, labels = scene
    atlas = Atlas(image, labels, {1: "one", 2: "two"}, {1: (255, 0, 0), 2: (0, 255, 0)})
    made = segment(
        atlas, image, model="vesselfm", registration="identity", device="cpu", weights=weights("vesselfm"),
        model_options={"roi": 64},
    )  # fmt: skip
    facts = made.report["model"]
    assert facts["name"] == "vesselfm"
    assert facts["weights"]["file"] == "vesselFM_base.pt"
    assert facts["weights"]["licence"] == "Open RAIL++-M, non-commercial"
    assert facts["learnable_parameters"] == 0
    assert any("no commercial use" in warning for warning in made.warnings)
    assert made.report["parameters"]["model_options"] == {"roi": 64}
    assert "weights" not in made.report["parameters"]


def test_secret_options_stay_out_of_the_report(scene, monkeypatch):
    stand_in = echoes.installed(monkeypatch, "nninteractive", "prompt")
    image, labels = scene
    atlas = Atlas(image, labels, {1: "one", 2: "two"}, {1: (255, 0, 0), 2: (0, 255, 0)})
    options = {"server": "http://127.0.0.1:9", "api_key": "hush", "samples": 1}
    made = segment(atlas, image, model="nninteractive", registration="identity", device="cpu", model_options=options)
    # Atlas and query are one image here, which is shown once.
    assert stand_in.made.images == 1
    assert "hush" not in json.dumps(made.report)
    assert made.report["parameters"]["model_options"]["server"] == options["server"]
    assert made.report["model"]["weights"] == {"origin": "server", "licence": "none"}


def test_missing_weights_are_told_before_anything_is_computed(scene):
    pytest.importorskip("monai")
    image, labels = scene
    atlas = Atlas(image, labels, {1: "one", 2: "two"}, {1: (255, 0, 0), 2: (0, 255, 0)})
    steps = []
    with pytest.raises(ModelError, match="atlassegfm models download vesselfm"):
        segment(atlas, image, model="vesselfm", device="cpu", progress=lambda step, _: steps.append(step))
    assert not steps


def test_identity_tells_weights_device_seed_and_options(weights, tmp_path):
    path = weights("vesselfm")
    other = tmp_path / "other.pt"
    other.write_bytes(path.read_bytes() + b"0")
    given = [(path, 0, "cpu"), (path, 0, "cpu"), (path, 1, "cpu"), (other, 0, "cpu"), (path, 0, "cuda")]
    found = [create_model("vesselfm", device=d, seed=s, weights=w).identity(1) for w, s, d in given]
    assert found[0] == found[1]
    assert len(set(found)) == 4


def test_a_model_that_runs_elsewhere_may_be_another_one_tomorrow():
    pytest.importorskip("nnInteractive")
    options = {"server": "http://127.0.0.1:9"}
    assert create_model("nninteractive", device="cpu", seed=0, options=options).identity(1) is None


class TestOneNetwork:
    """Loaded once by a process, whatever the number of sessions and scans."""

    def test_sessions_share_it(self, weights):
        path, count = weights("vesselfm"), []
        forget()
        sessions = [create_model("vesselfm", device="cpu", seed=0, weights=path) for _ in range(3)]
        original = type(sessions[0])._build

        def counted(self):
            count.append(1)
            return original(self)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(type(sessions[0]), "_build", counted)
            networks = [session.network() for session in sessions]
        assert len(count) == 1
        assert networks[0] is networks[1] is networks[2]

    def test_other_weights_are_another_one(self, weights, tmp_path):
        import torch

        path = weights("vesselfm")
        other = tmp_path / "other.pt"
        torch.save({k: v + 1.0 for k, v in torch.load(path, weights_only=True).items()}, other)
        first = create_model("vesselfm", device="cpu", seed=0, weights=path).network()
        assert create_model("vesselfm", device="cpu", seed=0, weights=other).network() is not first


class TestMemory:
    """A GPU that is too small, by the error that torch raises then; there is none on the machines that test."""

    @pytest.fixture
    def session(self, scene, monkeypatch):
        torch = pytest.importorskip("torch")
        stand_in = echoes.installed(monkeypatch, "sam", "image")
        model = stand_in.session(device="cuda", seed=0)
        self.fits, self.tried = set(), []

        def answer(prompt, scale):
            self.tried.append((model.device, scale))
            if model.device == "cuda" and scale not in self.fits:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return np.full(model.image.grid.shape, 0.5, np.float32)

        monkeypatch.setattr(model, "_answer", answer)
        monkeypatch.setattr(stand_in.session, "scales", (1.0, 0.75, 0.5))
        model.set_image(scene[0])
        return model

    def test_a_smaller_crop_is_tried_first_and_kept(self, session, scene, caplog):
        self.fits = {0.75}
        logging.getLogger("atlassegfm").propagate = True
        prompt = prompt_from_labels(scene[1], 1, "box")
        assert session.segment(prompt).max() == 0.5
        session.segment(prompt)
        assert self.tried == [("cuda", 1.0), ("cuda", 0.75), ("cuda", 0.75)]
        assert session.notices == ["sam: the GPU's memory is too small; it goes on with a smaller crop"]

    def test_the_cpu_is_last_and_the_user_is_told(self, session, scene):
        session.segment(prompt_from_labels(scene[1], 1, "box"))
        assert self.tried == [("cuda", 1.0), ("cuda", 0.75), ("cuda", 0.5), ("cpu", 1.0)]
        assert session.notices[-1] == "sam: the GPU's memory is too small; it goes on on the CPU"
        assert session.device == "cpu"

    def test_a_model_with_one_size_goes_to_the_cpu_at_once(self, session, scene, monkeypatch):
        monkeypatch.setattr(type(session), "scales", (1.0,))
        session.segment(prompt_from_labels(scene[1], 1, "box"))
        assert self.tried == [("cuda", 1.0), ("cpu", 1.0)]
        assert session.notices == ["sam: the GPU's memory is too small; it goes on on the CPU"]

    def test_a_network_that_does_not_fit_is_loaded_onto_the_cpu(self, monkeypatch):
        torch = pytest.importorskip("torch")
        stand_in = echoes.installed(monkeypatch, "sam", "image")
        model = stand_in.session(device="cuda", seed=0)

        def network(self):
            if self.device == "cuda":
                raise torch.OutOfMemoryError("CUDA out of memory")
            return stand_in.made

        monkeypatch.setattr(stand_in.session, "network", network)
        model.load()
        assert model.device == "cpu"
        assert len(model.notices) == 1

    def test_other_errors_are_not_taken_for_it(self, session, scene, monkeypatch):
        def broken(prompt, scale):
            raise RuntimeError("something else")

        monkeypatch.setattr(session, "_answer", broken)
        with pytest.raises(RuntimeError, match="something else"):
            session.segment(prompt_from_labels(scene[1], 1, "box"))


def test_crops_shrink_to_what_networks_take():
    assert [shrunk(128, scale, 32, 64) for scale in (1.0, 0.75, 0.5)] == [128, 96, 64]
    assert shrunk(64, 0.5, 32, 64) == 64


def test_what_packages_print_does_not_reach_stdout(capsys, caplog):
    logging.getLogger("atlassegfm").propagate = True
    with caplog.at_level(logging.DEBUG, "atlassegfm"), spoken():
        print("licence of the model")
    assert capsys.readouterr().out == ""
    assert "licence of the model" in caplog.text


def test_global_random_numbers_are_as_before():
    pytest.importorskip("torch")
    np.random.seed(5)
    expected = np.random.random()
    np.random.seed(5)
    with seeded(1):
        inside = np.random.random()
    with seeded(1):
        assert np.random.random() == inside
    assert np.random.random() == expected


def test_a_prompt_it_does_not_take_and_an_image_not_set_are_named(scene, monkeypatch):
    stand_in = echoes.installed(monkeypatch, "medsam", "image")
    model = stand_in.session(device="cpu", seed=0)
    with pytest.raises(InputError, match="medsam takes box as prompt, not click"):
        model.segment(prompt_from_labels(scene[1], 1, "click"))
    with pytest.raises(ModelError, match="set_image"):
        model.segment(prompt_from_labels(scene[1], 1, "box"))


def test_long_runs_on_a_cpu_are_announced(scene, monkeypatch, caplog):
    stand_in = echoes.installed(monkeypatch, "sam", "image")
    monkeypatch.setattr(stand_in.session, "expected_seconds", lambda self, image, labels: 150.0)
    logging.getLogger("atlassegfm").propagate = True
    image, labels = scene
    atlas = Atlas(image, labels, {1: "one", 2: "two"}, {1: (255, 0, 0), 2: (0, 255, 0)})
    monkeypatch.setattr("atlassegfm.pipeline.create_model", lambda *_, **__: stand_in.session(device="cpu", seed=0))
    with caplog.at_level(logging.WARNING, "atlassegfm"):
        segment(atlas, image, model="sam", registration="identity", device="cpu")
    assert "sam on the CPU will take about 8 minutes for 2 labels" in caplog.text


def test_expected_time_follows_device_and_size_of_the_weights(weights, scene):
    path = weights("vesselfm")
    small = create_model("vesselfm", device="cpu", seed=0, weights=path).expected_seconds(scene[0], 2)
    assert 0 < small < 1
    assert create_model("vesselfm", device="cuda", seed=0, weights=path).expected_seconds(scene[0], 2) == 0
