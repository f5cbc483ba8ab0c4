"""Methods as data: a method is a registration, a model with its prompt, and a fusion, under one name.

What `atlassegfm segment --preset` knows is named in `atlassegfm.presets` and is a method, too; adding another method is
one line in `PRESETS`. The command line also takes settings in place of a name,
``registration=greedy+model=none``; whatever is not set is as in the preset ``default``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from atlassegfm import presets
from atlassegfm.errors import InputError

#: Which label map of a run a method is judged by.
OUTPUTS = ("final", "model", "atlas")
#: Procedures that look at the query's truth: bounds and simulated users, never something to deploy.
TRUTH_PROCEDURES = ("clicks", "true-prompt")
#: What `parse_method` lets a user set.
SETTABLE = ("registration", "model", "prompt", "fusion", "customise", "output")


@dataclass(frozen=True)
class Method:
    """One way from an atlas and a query to a label map.

    Parameters
    ----------
    name : str
        Row name in tables.
    registration, model, prompt, fusion : str
        As in `atlassegfm.pipeline.segment`. Model "none" is registration alone.
    customise : bool
        Whether the model may adapt itself to the atlas.
    output : str
        "final", "model" (the model's own answer, before fusion) or "atlas" (the warped atlas labels).
    procedure : str
        How it runs: "pipeline", or a key of `atlassegfm.evaluation.baselines.PROCEDURES`.
    options : tuple of (str, value)
        Extra settings of the procedure, for example ``(("clicks", 5),)``.
    summary : str
        One line for lists.
    """

    name: str
    registration: str = "default"
    model: str = "builtin"
    prompt: str = "auto"
    fusion: str = "kalman"
    customise: bool = True
    output: str = "final"
    procedure: str = "pipeline"
    options: tuple[tuple[str, Any], ...] = ()
    summary: str = ""

    def __post_init__(self) -> None:
        if self.output not in OUTPUTS:
            raise InputError(f"method {self.name}: output {self.output!r} is none of {', '.join(OUTPUTS)}")

    @property
    def sees_truth(self) -> bool:
        """Whether the query's true label map is among its inputs."""
        return self.procedure in TRUTH_PROCEDURES

    def run_settings(self) -> dict[str, Any]:
        """Everything that decides what is computed, without what cannot matter; JSON-able."""
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("name", "summary", "output")}
        settings["options"] = [list(pair) for pair in self.options]
        if self.model == "none" and self.procedure == "pipeline":
            settings |= {"prompt": "auto", "fusion": "none", "customise": False}
        return settings

    def segment_options(self) -> dict[str, Any]:
        """Keyword arguments for `atlassegfm.pipeline.segment`; the same preset works in `evaluate` and `segment`."""
        options = {key: getattr(self, key) for key in ("registration", "model", "prompt", "fusion")}
        return options if self.customise else options | {"customise": False}


#: The methods that have a name: the presets of `segment`, and what only an evaluation can do.
PRESETS: dict[str, Method] = {
    method.name: method
    for method in (
        *(Method(preset.name, **preset.options(), summary=preset.summary) for preset in presets.PRESETS.values()),
        Method("model", output="model", summary="the model alone, prompted from the registered atlas"),
        Method("no-customise", customise=False, summary="default with the model left as it comes"),
        Method(
            "nninteractive-1",
            model="nninteractive",
            procedure="clicks",
            options=(("clicks", 1),),
            summary="nnInteractive, 1 simulated click(s)",
        ),
        Method(
            "nninteractive-5",
            model="nninteractive",
            procedure="clicks",
            options=(("clicks", 5),),
            summary="nnInteractive, 5 simulated click(s)",
        ),
        Method(
            "medsam2-1",
            model="medsam2",
            procedure="clicks",
            options=(("clicks", 1),),
            summary="MedSAM2, 1 simulated click(s)",
        ),
        Method(
            "medsam2-5",
            model="medsam2",
            procedure="clicks",
            options=(("clicks", 5),),
            summary="MedSAM2, 5 simulated click(s)",
        ),
        Method("builtin-1", procedure="clicks", options=(("clicks", 1),), summary="built-in model, 1 simulated click"),
        Method("builtin-5", procedure="clicks", options=(("clicks", 5),), summary="built-in model, 5 simulated clicks"),
        Method("upper-bound", procedure="true-prompt", prompt="mask", summary="the model prompted with the true mask"),
        Method("label-fusion", model="none", procedure="label-fusion", summary="joint label fusion of several atlases"),
        Method("majority-vote", model="none", procedure="majority-vote", summary="several atlases, majority vote"),
        Method("universeg", model="universeg", procedure="in-context", summary="UniverSeg, slice by slice"),
        Method("tyche", model="tyche", procedure="in-context", summary="Tyche, slice by slice"),
    )
}

#: What `evaluate` runs when it is not told: one run of the pipeline serves all three.
DEFAULT_METHODS = ("default", "model", "registration")


def parse_methods(text: str) -> list[Method]:
    """Methods from a comma-separated list of preset names and settings such as ``registration=greedy+model=none``.

    Raises
    ------
    InputError
        For an unknown name or setting, and for a method listed twice.
    """
    methods = [parse_method(part.strip()) for part in text.split(",") if part.strip()]
    names = [method.name for method in methods]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"--methods: {name} is listed twice")
    if not methods:
        raise InputError(f"--methods: expected at least one of {', '.join(PRESETS)}")
    return methods


def parse_method(text: str, option: str = "--methods") -> Method:
    """One method: a preset's name or ``key=value+key=value``; see `parse_methods`. Errors name the option."""
    if "=" not in text:
        if text not in PRESETS:
            raise InputError(
                f"{option}: no method {text!r}; expected one of {', '.join(PRESETS)}, or settings such as "
                "registration=default+model=none"
            )
        return PRESETS[text]
    changes: dict[str, Any] = {}
    for part in text.split("+"):
        key, _, value = (piece.strip() for piece in part.partition("="))
        if key not in SETTABLE or not value:
            raise InputError(f"{option}: {part!r} is no setting; expected KEY=VALUE with one of {', '.join(SETTABLE)}")
        changes[key] = _truth_value(value, option) if key == "customise" else value
    return replace(PRESETS["default"], name=text, summary="as given on the command line", **changes)


def _truth_value(text: str, option: str) -> bool:
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in words:
        raise InputError(f"{option}: customise={text}: expected yes or no")
    return words[text.lower()]
