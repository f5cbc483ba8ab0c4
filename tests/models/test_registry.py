"""Models by name: what they declare, how they are found, what makes a name unusable."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from atlassegfm.errors import InputError, MissingExtraError, ModelError
from atlassegfm.models import catalogue, registry
from atlassegfm.models.base import SegmentationModel
from atlassegfm.models.info import KINDS, ModelInfo
from atlassegfm.models.registry import MODELS, create_model, model_info, model_options

PRETRAINED = [name for name in MODELS if MODELS[name].weights is not None]


@pytest.mark.parametrize("name", list(MODELS))
def test_every_model_declares_what_users_have_to_know(name):
    info = model_info(name)
    assert info.name == name
    assert info.summary
    assert "\n" not in info.summary
    assert info.dimension in ("2D", "3D")
    assert info.prompts
    assert set(info.prompts) <= set(KINDS)
    assert info.licence
    assert info.modalities
    assert info.intensity
    assert info.spacing
    if info.weights is not None:
        sources = [info.weights.repo, info.weights.url, info.weights.bundle]
        assert sum(source is not None for source in sources) == 1
        assert info.weights.about_mb > 0
        assert info.weights.licence
        assert info.extra
        assert info.package
        assert info.weights.commercial or info.notice
        assert all(len(pin) == 64 for pin in info.weights.sha256.values())


def test_the_names_of_the_issue_are_there():
    wanted = {
        "nninteractive",
        "medsam2",
        "sam2",
        "medsam",
        "sam",
        "sam-med3d",
        "vista3d",
        "vesselfm",
        "none",
        "builtin",
    }
    assert wanted <= set(MODELS)
    assert list(MODELS)[:2] == ["builtin", "none"]


@pytest.mark.parametrize("name", ["builtin", "none"])
def test_models_without_weights_can_be_made(name):
    model = create_model(name, device="cpu", seed=0)
    assert model is None if model_info(name).target is None else isinstance(model, SegmentationModel)


@pytest.mark.parametrize("name", PRETRAINED)
def test_models_with_weights_say_how_to_get_them(name):
    with pytest.raises((ModelError, MissingExtraError)) as caught:
        create_model(name, device="cpu", seed=0)
    text = str(caught.value)
    assert f"atlassegfm models download {name}" in text or f"atlassegfm[{model_info(name).extra}]" in text
    assert "\n" not in text


def test_every_extra_that_models_name_is_in_the_project_file():
    text = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    for name in PRETRAINED:
        assert f"\n{model_info(name).extra} = [" in text


def test_unknown_model_lists_the_known_ones():
    with pytest.raises(InputError, match=r"unknown model 'segmentall'.*builtin"):
        model_info("segmentall")


def test_options_are_read_and_checked():
    assert model_options("medsam", {"axis": "coronal"}) == {"axis": "coronal"}
    assert model_options("nninteractive", {"samples": "5", "autozoom": "no"}) == {"samples": 5, "autozoom": False}
    with pytest.raises(InputError, match=r"model medsam: no option 'speed'; expected one of axis, window"):
        model_options("medsam", {"speed": "9"})
    with pytest.raises(InputError, match=r"option axis: expected one of .*, got oblique"):
        model_options("sam2", {"axis": "oblique"})
    with pytest.raises(InputError, match=r"option window: .*LOW:HIGH, got '9:1'"):
        model_options("sam", {"window": "9:1"})


def test_weights_for_a_model_without_any_are_refused(tmp_path):
    with pytest.raises(InputError, match="builtin has no weights"):
        create_model("builtin", device="cpu", seed=0, weights=tmp_path)


def test_one_new_file_is_a_new_model(tmp_path, monkeypatch):
    """No other file is touched: its name, its facts and its session come from the file itself."""
    (tmp_path / "my_model.py").write_text(
        "from atlassegfm.models.base import SegmentationModel\n"
        "from atlassegfm.models.info import ModelInfo\n"
        "INFO = ModelInfo('my-model', 'mine', '3D', ('mask',), 'MIT', f'{__name__}:Mine')\n"
        "class Mine(SegmentationModel):\n"
        "    def __init__(self, *, device, seed): pass\n"
        "    def set_image(self, image): pass\n"
        "    def segment(self, prompt): return prompt.mask\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(catalogue, "__path__", [*catalogue.__path__, str(tmp_path)])
    registry._own.cache_clear()
    try:
        assert "my-model" in MODELS
        assert model_info("my-model").summary == "mine"
        assert type(create_model("my-model", device="cpu", seed=0)).__name__ == "Mine"
    finally:
        monkeypatch.undo()
        registry._own.cache_clear()
        sys.modules.pop(f"{catalogue.__name__}.my_model", None)


def _with_entry_point(monkeypatch, name: str, value: str) -> None:
    point = metadata.EntryPoint(name, value, registry.GROUP)
    monkeypatch.setattr(registry.metadata, "entry_points", lambda group: [point])
    registry._foreign.cache_clear()
    monkeypatch.setattr(registry, "_foreign", registry._foreign.__wrapped__)


def test_broken_packages_of_others_are_named_and_hide_nothing(monkeypatch):
    _with_entry_point(monkeypatch, "broken", "no_such_package.models:INFO")
    assert "broken" in MODELS
    assert MODELS["builtin"].name == "builtin"
    with pytest.raises(ModelError, match=r"model broken: its package cannot be imported .*no_such_package"):
        model_info("broken")


def test_an_entry_point_has_to_be_facts_of_its_own_name(monkeypatch):
    _with_entry_point(monkeypatch, "other", "atlassegfm.models.catalogue.none:INFO")
    with pytest.raises(ModelError, match="expected its entry point"):
        model_info("other")


def test_our_models_cannot_be_replaced_by_packages(monkeypatch):
    _with_entry_point(monkeypatch, "builtin", "atlassegfm.models.catalogue.none:INFO")
    assert model_info("builtin").target == "atlassegfm.models.both:BothModel"


def test_models_put_in_and_taken_out_by_hand(monkeypatch):
    info = ModelInfo("extra", "", "3D", ("mask",), "MIT")
    monkeypatch.setitem(MODELS, "extra", info)
    assert MODELS["extra"] is info
    monkeypatch.delitem(MODELS, "sam")
    assert "sam" not in MODELS
    assert "sam" not in list(MODELS)
    monkeypatch.undo()
    assert "sam" in MODELS
    assert "extra" not in MODELS


def test_names_need_neither_torch_nor_numpy_and_facts_no_torch():
    code = (
        "import sys; from atlassegfm.models.registry import MODELS; names = list(MODELS);"
        "print([m for m in ('torch', 'numpy') if m in sys.modules]);"
        "[MODELS[n] for n in names]; print([m for m in ('torch', 'monai', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
