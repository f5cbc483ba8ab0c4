"""UniverSeg and Tyche: through the real packages where they are installed, else through stand-ins of their shape."""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from atlassegfm.atlas import Atlas
from atlassegfm.errors import ModelError
from atlassegfm.evaluation.availability import missing_parts
from atlassegfm.evaluation.baselines import PROCEDURES, Job
from atlassegfm.evaluation.baselines.slice_models import CANDIDATES, SIZE, SLICE_MODELS, SUPPORT
from atlassegfm.evaluation.methods import PRESETS
from atlassegfm.evaluation.records import content_key
from atlassegfm.evaluation.runs import plan_runs
from atlassegfm.volume import Grid, Volume

NAMES = ("universeg", "tyche")


class UniverSegStandIn(nn.Module):
    """Takes and gives tensors of UniverSeg's shapes; the logit is twice what is brighter than the examples' mask."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0))

    def forward(self, target_image, support_images, support_labels):
        b, s, side = target_image.shape[0], support_images.shape[1], target_image.shape[-1]
        assert target_image.shape == (b, 1, side, side)
        assert support_images.shape == support_labels.shape == (b, s, 1, side, side)
        inside = (support_images * support_labels).sum() / support_labels.sum().clamp(min=1)
        return self.gain * (target_image - 0.8 * inside)


class TycheStandIn(UniverSegStandIn):
    """The same with several candidates that differ by noise."""

    def forward(self, support_images, support_labels, target_image, noise_image):
        assert target_image.shape == noise_image.shape == (1, CANDIDATES, 1, SIZE, SIZE)
        found = [super(TycheStandIn, self).forward(t[None], support_images, support_labels) for t in target_image[0]]
        return torch.stack(found, dim=1) + 0.1 * noise_image


def stand_in(monkeypatch, name, factory, network):
    """A module of the package's name whose factory makes the network."""

    def make(version, pretrained):
        assert (version, pretrained) == ("v1", False)  # never a download
        return network()

    module = ModuleType(name)
    setattr(module, factory, make)
    module.__spec__ = ModuleSpec(name, None)
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture
def here(monkeypatch, tmp_path):
    """Both packages as stand-ins, both files of weights in their published form."""
    stand_in(monkeypatch, "universeg", "universeg", UniverSegStandIn)
    stand_in(monkeypatch, "tyche", "tychets", TycheStandIn)
    state = {"gain": torch.tensor(30.0)}
    torch.save(state, tmp_path / "universeg.pt")
    torch.save({"model": state}, tmp_path / "tyche.pt")
    for name in NAMES:
        monkeypatch.setenv(SLICE_MODELS[name].variable, str(tmp_path / f"{name}.pt"))
    return tmp_path


def scene():
    grid = Grid((24, 20, 6), np.diag([2.0, 2.0, 5.0, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[6:16, 5:14, 1:5] = 3
    image = Volume((100.0 * (labels > 0)).astype(np.float32), grid)
    return Atlas(image, Volume(labels, grid), {3: "box"}), image


@pytest.mark.parametrize("name", NAMES)
def test_finds_the_box_from_one_atlas(here, name):
    atlas, query = scene()
    outcome = PROCEDURES["in-context"](Job(PRESETS[name], atlas, query, None, pool=list, device="cpu"))
    found, truth = outcome.maps["final"].data == 3, atlas.labels.data == 3
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_answer(here, name):
    rng = np.random.default_rng(0)
    targets, images = rng.random((2, SIZE, SIZE)), rng.random((2, SUPPORT, SIZE, SIZE))
    masks = (images > 0.5).astype(float)
    one, two, other = (SLICE_MODELS[name].load("cpu", seed).predict(targets, images, masks) for seed in (0, 0, 1))
    assert one.shape == (2, SIZE, SIZE)
    assert one.dtype == np.float32
    assert 0 <= one.min() < one.max() <= 1
    assert np.array_equal(one, two)
    assert np.array_equal(one, other) == (name == "universeg")  # only Tyche draws


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_said_with_its_cure(here, name, monkeypatch):
    info = SLICE_MODELS[name]
    assert missing_parts(PRESETS[name]) == []
    monkeypatch.setenv(info.variable, str(here / "nowhere.pt"))
    assert missing_parts(PRESETS[name]) == [f"the file {here / 'nowhere.pt'} that {info.variable} names"]
    monkeypatch.delenv(info.variable)
    (needs,) = missing_parts(PRESETS[name])
    assert f"{info.variable}=FILE" in needs
    assert info.url in needs
    with pytest.raises(ModelError, match=info.variable):
        info.load("cpu", 0)


def test_a_missing_package_is_said_with_its_cure(monkeypatch):
    from atlassegfm.evaluation.baselines import slice_models

    monkeypatch.setattr(slice_models, "find_spec", lambda name: None)
    assert "pip install git+https" in missing_parts(PRESETS["universeg"])[0]
    assert "PYTHONPATH" in missing_parts(PRESETS["tyche"])[0]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"<html>not found</html>"),
        lambda path: path.write_bytes(path.read_bytes()[:200]),
        lambda path: torch.save({"model": {"other": torch.zeros(2)}}, path),
        lambda path: torch.save([1, 2], path),
    ],
    ids=["a web page", "truncated", "of another model", "no weights"],
)
def test_other_files_are_refused_in_one_line(here, name, damage):
    path = here / f"{name}.pt"
    damage(path)
    with pytest.raises(ModelError, match="expected the published weights of") as caught:
        SLICE_MODELS[name].load("cpu", 0)
    assert str(path) in str(caught.value)
    assert SLICE_MODELS[name].url in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_are_never_run_as_code(here):
    """A pickle that calls something when it is loaded."""
    torch.save(SimpleNamespace(harm=1), here / "universeg.pt")
    with pytest.raises(ModelError, match="expected the published weights"):
        SLICE_MODELS["universeg"].load("cpu", 0)


def test_another_package_of_that_name_is_refused(here, monkeypatch):
    monkeypatch.setitem(sys.modules, "tyche", ModuleType("tyche"))
    sys.modules["tyche"].__spec__ = ModuleSpec("tyche", None)
    with pytest.raises(ModelError, match="tychets"):
        SLICE_MODELS["tyche"].load("cpu", 0)


def test_other_weights_start_anew(here):
    (run,) = plan_runs([PRESETS["universeg"]])
    pair = SimpleNamespace(atlas="a", query="b", pool=())
    settings = SimpleNamespace(labels={1: "x"}, seed=0, tolerance_mm=2.0, device="cpu")
    digests = {"a": "1", "b": "2"}
    first = content_key(run, pair, digests, settings)
    assert content_key(run, pair, digests, settings) == first
    torch.save({"gain": torch.tensor(31.0), "more": torch.zeros(9)}, here / "universeg.pt")
    assert content_key(run, pair, digests, settings) != first


@pytest.mark.parametrize("name", NAMES)
def test_the_real_architecture_takes_its_own_weights(name, monkeypatch, tmp_path):
    """Random weights in the published form, through the real code."""
    info = SLICE_MODELS[name]
    if find_spec(info.package) is None:
        pytest.skip(f"the package {info.package} is not installed: {info.install}")
    module = __import__(info.package)
    factory = {"universeg": "universeg", "tyche": "tychets"}[name]
    state = getattr(module, factory)(version="v1", pretrained=False).state_dict()
    torch.save(state if name == "universeg" else {"model": state}, tmp_path / "weights.pt")
    monkeypatch.setenv(info.variable, str(tmp_path / "weights.pt"))
    rng = np.random.default_rng(0)
    targets, images = rng.random((1, SIZE, SIZE)), rng.random((1, 2, SIZE, SIZE))
    found = info.load("cpu", 0).predict(targets, images, (images > 0.5).astype(float))
    assert found.shape == (1, SIZE, SIZE)
    assert 0 <= found.min() < found.max() <= 1
