"""Settings of the pipeline under one name, for `segment` and `evaluate` alike. Light: never imports torch or NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from atlassegfm.errors import InputError
from atlassegfm.fusion import FUSIONS
from atlassegfm.models.registry import MODELS, made_options, served
from atlassegfm.models.weights import missing_weights
from atlassegfm.registration.registry import METHODS

#: Extra of a registration method to the module that it brings.
_EXTRA_MODULES = {"greedy": "picsl_greedy", "ants": "ants", "elastix": "itk", "convexadam": "convexAdam"}
#: The paper's test-time network, said in full so that it stays the paper's whatever the method's defaults become.
PAPER_NETWORK = {"iterations": 1000, "learning_rate": 1e-4, "similarity": "mse"}


#: The parts that a method is made of.
PARTS = ("registration", "model", "prompt", "fusion")


@dataclass(frozen=True)
class Preset:
    """What `atlassegfm.pipeline.segment` is told, under one name.

    Parameters
    ----------
    name, summary : str
        What the user types, and one line for lists.
    registration, model, prompt, fusion : str
        As in `atlassegfm.pipeline.segment`. Parts that this version does not have may be named: see `missing_parts`.
    registration_options : mapping
        As in `atlassegfm.pipeline.segment`.
    """

    name: str
    summary: str
    registration: str = "default"
    model: str = "builtin"
    prompt: str = "auto"
    fusion: str = "kalman"
    registration_options: Mapping[str, Any] = field(default_factory=dict)

    def options(self) -> dict[str, Any]:
        """Keyword arguments for `atlassegfm.pipeline.segment`."""
        parts = {key: getattr(self, key) for key in PARTS}
        return parts | {"registration_options": dict(self.registration_options)}


#: "default" is ours, "paper" has the paper's settings throughout.
PRESETS: dict[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset("default", "this project's default"),
        Preset("registration", "registration alone: the atlas labels carried over", model="none"),
        Preset("no-fusion", "default without fusion", fusion="none"),
        Preset("gate", "default with the convolutional gate as fusion", fusion="gate"),
        Preset("prompt-mask", "the atlas mask as prompt", prompt="mask"),
        Preset("prompt-click", "a click at the centre of the atlas mask as prompt", prompt="click"),
        Preset("prompt-box", "the box of the atlas mask as prompt", prompt="box"),
        Preset("identity", "no registration: positions of the headers", registration="identity", model="none"),
        Preset("rigid", "rigid registration alone", registration="rigid", model="none"),
        Preset("affine", "rigid and affine registration alone", registration="affine", model="none"),
        Preset(
            "vm-base",
            "the paper's registration alone",
            registration="voxelmorph",
            model="none",
            registration_options=PAPER_NETWORK,
        ),
        Preset("greedy", "greedy (affine, NCC) alone", registration="greedy", model="none"),
        Preset("ants-syn", "ANTs affine and SyN alone (SyN+A)", registration="ants-syn", model="none"),
        Preset(
            "ants-syn-rigid-affine",
            "ANTs rigid, affine and SyN alone (SyN+RA)",
            registration="ants-syn-rigid-affine",
            model="none",
        ),
        Preset("ants-syn-only", "ANTs SyN alone, from the headers", registration="ants-syn-only", model="none"),
        Preset(
            "paper",
            "the paper: test-time U-Net registration (MSE, lr 1e-4, 1000 steps), nnInteractive with the mask, Kalman "
            "fusion (lr 1e-5, 100 steps)",
            registration="voxelmorph",
            model="nninteractive",
            prompt="mask",
            fusion="kalman-paper",
            registration_options=PAPER_NETWORK,
        ),
        Preset(
            "paper-vessels",
            "the paper on vessels: vesselFM instead of nnInteractive",
            registration="voxelmorph",
            model="vesselfm",
            fusion="kalman-paper",
            registration_options=PAPER_NETWORK,
        ),
        Preset(
            "paper-medsam2",
            "the paper with MedSAM2 and a click instead of nnInteractive",
            registration="voxelmorph",
            model="medsam2",
            prompt="click",
            fusion="kalman-paper",
            registration_options=PAPER_NETWORK,
        ),
    )
}


def preset_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a preset, those given beside it in place of its own.

    Parameters
    ----------
    name : str
        A name out of `PRESETS`.
    given : mapping
        Any of registration, model, prompt, fusion (str) and registration_options (mapping). Options of the registration
        are added to the preset's own, which hold for its own registration only. Also weights and model_options, which
        presets do not have.

    Raises
    ------
    InputError
        If there is no such preset, or this installation lacks something that it needs.
    """
    if name not in PRESETS:
        raise InputError(f"--preset: expected one of {', '.join(PRESETS)}, got {name!r}")
    own = PRESETS[name].options()
    kept = own["registration"] == given.get("registration", own["registration"])
    settings = own["registration_options"] if kept else {}
    options = own | dict(given) | {"registration_options": settings | dict(given.get("registration_options", {}))}
    # What the user gave is checked, and told about, as an option of its own.
    beside = {key: given.get(key) for key in ("weights", "model_options")}
    missing = {k: w for k, w in missing_parts(**{p: options[p] for p in PARTS}, **beside).items() if k not in given}
    if missing:
        raise InputError(
            f"--preset {name} needs {' and '.join(missing.values())}, which is not available here; "
            f"choose another preset, or give another --{next(iter(missing))} beside it"
        )
    return options


def missing_parts(
    registration: str,
    model: str,
    prompt: str,
    fusion: str,
    *,
    weights: object = None,
    model_options: Mapping[str, Any] | None = None,
) -> dict[str, str]:
    """Which options ask for what this version or installation lacks, and in words what; empty when all is there."""
    missing = {"registration": _missing_registration(registration)}
    lacking = _missing_model(model, weights, model_options or {})
    if lacking:
        missing["model"] = lacking
    elif prompt not in ("auto", *MODELS[model].prompts):
        missing["prompt"] = f"the prompt {prompt} in the model {model}"
    if model != "none" and fusion not in FUSIONS:
        missing["fusion"] = f"the fusion {fusion}"
    return {key: what for key, what in missing.items() if what}


def _missing_model(name: str, weights: object, options: Mapping[str, Any]) -> str:
    """The model itself, its package or its weights, where they are not there and not given."""
    if name not in MODELS:
        return f"the model {name}"
    info = MODELS[name]
    if not info.installed:
        return f"the extra {info.extra} (pip install 'atlassegfm[{info.extra}]')"
    elsewhere = served(info, made_options(info, options))
    return "" if weights is not None or elsewhere else missing_weights(info) or ""


def _missing_registration(name: str) -> str:
    if name not in METHODS:
        return f"the registration {name}"
    extra = METHODS[name].extra
    if extra in _EXTRA_MODULES and find_spec(_EXTRA_MODULES[extra]) is None:
        return f"the extra {extra} (pip install 'atlassegfm[{extra}]')"
    return ""
