"""Presets: the same names in `segment` and `evaluate`, replaced where the user says so, light to import."""

import subprocess
import sys
from inspect import signature

import pytest
import typer.main

from atlassegfm import presets
from atlassegfm.cli import app
from atlassegfm.errors import InputError
from atlassegfm.evaluation import methods
from atlassegfm.models.info import ModelInfo
from atlassegfm.models.registry import MODELS
from atlassegfm.pipeline import segment
from atlassegfm.presets import PRESETS, missing_parts, preset_options
from atlassegfm.registration.registry import METHODS

KEYS = ("registration", "model", "prompt", "fusion")
NETWORK = {"iterations": 1000, "learning_rate": 1e-4, "similarity": "mse"}


def test_default_is_what_the_pipeline_and_the_command_do_when_not_told():
    told = preset_options("default", {})
    assert told.pop("registration_options") == {}
    assert told == {key: signature(segment).parameters[key].default for key in KEYS}
    command = typer.main.get_command(app).commands["segment"]
    assert told == {p.name: p.default for p in command.params if p.name in KEYS}


def test_paper_has_the_papers_settings():
    assert PRESETS["paper"].options() == {
        "registration": "voxelmorph",
        "model": "nninteractive",
        "prompt": "mask",
        "fusion": "kalman-paper",
        "registration_options": NETWORK,
    }
    for preset in PRESETS.values():
        assert preset.registration_options == (NETWORK if preset.registration == "voxelmorph" else {})
    assert {p.fusion for name, p in PRESETS.items() if name.startswith("paper")} == {"kalman-paper"}


def test_each_is_a_method_of_evaluate_too():
    for name, preset in PRESETS.items():
        method = methods.PRESETS[name]
        assert method.segment_options() == preset.options()
        assert (method.procedure, method.output, method.summary) == ("pipeline", "final", preset.summary)


def test_what_is_given_comes_first():
    found = preset_options("gate", {"registration": "affine", "fusion": "none"})
    assert found == {
        "registration": "affine",
        "model": "builtin",
        "prompt": "auto",
        "fusion": "none",
        "registration_options": {},
    }


def test_options_of_the_registration_are_added_to_the_presets_own():
    found = preset_options("vm-base", {"registration_options": {"iterations": 5, "voxels": 16}})
    assert found["registration_options"] == NETWORK | {"iterations": 5, "voxels": 16}
    assert preset_options("vm-base", {"registration": "voxelmorph"})["registration_options"] == NETWORK
    # Another registration does not take them over.
    assert preset_options("vm-base", {"registration": "affine"})["registration_options"] == {}


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("magic", {}, "--preset: expected one of default, .*, got 'magic'"),
        (
            "paper-vessels",
            {},
            "--preset paper-vessels needs the model vesselfm, which is not available here; choose another preset, "
            "or give another --model beside it",
        ),
        ("prompt-box", {"model": "none"}, "needs the prompt box in the model none"),
    ],
)
def test_unknown_and_unavailable_presets_are_named(name, given, message, monkeypatch):
    monkeypatch.delitem(MODELS, "vesselfm", raising=False)
    with pytest.raises(InputError, match=message):
        preset_options(name, given)


def test_a_part_that_is_replaced_need_not_be_there(monkeypatch):
    monkeypatch.delitem(MODELS, "nninteractive", raising=False)
    assert preset_options("paper", {"model": "builtin"})["registration"] == "voxelmorph"


def test_a_model_that_joins_makes_its_preset_available(monkeypatch):
    info = ModelInfo("vesselfm", "", "3D", ("mask",), "none")
    monkeypatch.setitem(MODELS, "vesselfm", info)
    assert preset_options("paper-vessels", {})["model"] == "vesselfm"


def test_a_missing_package_is_named_with_its_extra(monkeypatch):
    monkeypatch.setattr(presets, "find_spec", lambda module: None)
    found = missing_parts("greedy", "none", "auto", "none")
    assert found == {"registration": "the extra greedy (pip install 'atlassegfm[greedy]')"}


def test_the_package_of_every_extra_is_known():
    """Otherwise a method whose package is missing would pass for one that can run."""
    extras = {info.extra for info in METHODS.values() if info.extra is not None}
    assert extras <= set(presets._EXTRA_MODULES)


def test_importing_is_light():
    heavy = "('torch', 'numpy', 'scipy')"
    code = f"import sys, atlassegfm.presets; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8").stdout.strip() == "[]"
