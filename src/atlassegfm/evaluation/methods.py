"""Methods as data: a method is a registration, a model with its prompt, and a fusion, under one name.

What `atlassegfm segment --preset` knows is named in `atlassegfm.presets` and is a method, too; adding another method is
one line in `PRESETS`. The command line also takes settings in place of a name or behind one,
``registration=greedy+model=none`` or ``vm-base+registration.iterations=50``; whatever is not set is as in the method
named, else as in the preset ``default``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from atlassegfm import presets
from atlassegfm.atlases import LABEL_FUSIONS, MOST_ATLASES
from atlassegfm.errors import InputError
from atlassegfm.registration.options import read_options
from atlassegfm.registration.registry import METHODS as REGISTRATIONS

#: Which label map of a run a method is judged by.
OUTPUTS = ("final", "model", "atlas")
#: Procedures that look at the query's truth: bounds and simulated users, never something to deploy.
TRUTH_PROCEDURES = ("clicks", "true-prompt")
#: What `parse_method` lets a user set, beside options of the registration.
SETTABLE = ("registration", "model", "prompt", "fusion", "customise", "output", "atlases", "label_fusion")
#: Begins the name of an option of the registration: ``registration.iterations=50``.
REGISTRATION_OPTION = "registration."


@dataclass(frozen=True)
class Method:
    """One way from an atlas and a query to a label map.

    Parameters
    ----------
    name : str
        Row name in tables.
    registration, model, prompt, fusion : str
        As in `atlassegfm.pipeline.segment`. Model "none" is registration alone.
    atlases : int
        How many atlases of the protocol it may use: 1 is the pair's own, of more those that look most like the query.
    label_fusion : str
        How several vote, a name out of `atlassegfm.atlases.LABEL_FUSIONS`.
    registration_options : tuple of (str, value)
        What the registration is told, for example ``(("iterations", 50),)``; the order says nothing.
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
    atlases: int = 1
    label_fusion: str = LABEL_FUSIONS[0]
    procedure: str = "pipeline"
    options: tuple[tuple[str, Any], ...] = ()
    registration_options: tuple[tuple[str, Any], ...] = ()
    summary: str = ""

    def __post_init__(self) -> None:
        if self.atlases < 1:
            raise InputError(f"method {self.name}: expected at least one atlas, got {self.atlases}")
        if self.label_fusion not in LABEL_FUSIONS:
            raise InputError(
                f"method {self.name}: label fusion {self.label_fusion!r} is none of {', '.join(LABEL_FUSIONS)}"
            )
        if self.output not in OUTPUTS:
            raise InputError(f"method {self.name}: output {self.output!r} is none of {', '.join(OUTPUTS)}")

    @property
    def sees_truth(self) -> bool:
        """Whether the query's true label map is among its inputs."""
        return self.procedure in TRUTH_PROCEDURES

    @property
    def uses_pool(self) -> bool:
        """Whether it looks at other atlases of the protocol than the pair's."""
        return self.procedure == "pipeline" and self.atlases > 1

    @property
    def vote(self) -> tuple[int, str]:
        """What the warped atlas labels depend on beside the registration."""
        return (self.atlases, self.label_fusion) if self.uses_pool else (1, "")

    @property
    def alignment(self) -> tuple[str, tuple[tuple[str, Any], ...]]:
        """The registration with its options: two methods that agree in this share it."""
        return self.registration, tuple(sorted(self.registration_options))

    def run_settings(self) -> dict[str, Any]:
        """Everything that decides what is computed, without what cannot matter; JSON-able."""
        settings = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("name", "summary", "output")}
        settings["options"] = [list(pair) for pair in self.options]
        settings["registration_options"] = dict(self.registration_options)
        if self.model == "none" and self.procedure == "pipeline":
            settings |= {"prompt": "auto", "fusion": "none", "customise": False}
        return settings | dict(zip(("atlases", "label_fusion"), self.vote, strict=True))

    def segment_options(self) -> dict[str, Any]:
        """Keyword arguments for `atlassegfm.pipeline.segment`; the same preset works in `evaluate` and `segment`."""
        options = {key: getattr(self, key) for key in presets.PARTS}
        options["registration_options"] = dict(self.registration_options)
        if self.uses_pool:
            options |= {"most_atlases": self.atlases, "label_fusion": self.label_fusion}
        return options if self.customise else options | {"customise": False}

    @classmethod
    def of_preset(cls, preset: presets.Preset) -> Method:
        """What `segment --preset` does, as a method."""
        options = preset.options()
        options["registration_options"] = tuple(options["registration_options"].items())
        return cls(preset.name, **options, summary=preset.summary)


#: The methods that have a name: the presets of `segment`, and what only an evaluation can do.
PRESETS: dict[str, Method] = {
    method.name: method
    for method in (
        *(Method.of_preset(preset) for preset in presets.PRESETS.values()),
        Method("model", output="model", summary="the model alone, prompted from the registered atlas"),
        Method("no-customise", customise=False, summary="default with the model left as it comes"),
        Method(
            "nninteractive-1",
            model="nninteractive",
            procedure="clicks",
            options=(("clicks", 1),),
            summary="nnInteractive, 1 simulated click",
        ),
        Method(
            "nninteractive-5",
            model="nninteractive",
            procedure="clicks",
            options=(("clicks", 5),),
            summary="nnInteractive, 5 simulated clicks",
        ),
        Method(
            "medsam2-1",
            model="medsam2",
            procedure="clicks",
            options=(("clicks", 1),),
            summary="MedSAM2, 1 simulated click",
        ),
        Method(
            "medsam2-5",
            model="medsam2",
            procedure="clicks",
            options=(("clicks", 5),),
            summary="MedSAM2, 5 simulated clicks",
        ),
        Method("builtin-1", procedure="clicks", options=(("clicks", 1),), summary="built-in model, 1 simulated click"),
        Method("builtin-5", procedure="clicks", options=(("clicks", 5),), summary="built-in model, 5 simulated clicks"),
        Method("vesselfm", model="vesselfm", procedure="unprompted", summary="vesselFM alone, which takes no prompt"),
        Method("upper-bound", procedure="true-prompt", prompt="mask", summary="the model prompted with the true mask"),
        Method("several-atlases", atlases=MOST_ATLASES, summary="default with up to five atlases that vote"),
        Method("label-fusion", model="none", atlases=MOST_ATLASES, summary="joint label fusion of several atlases"),
        Method(
            "majority-vote",
            model="none",
            atlases=MOST_ATLASES,
            label_fusion="majority",
            summary="several atlases, majority vote",
        ),
        Method(
            "universeg", model="universeg", procedure="in-context", summary="UniverSeg, slice by slice, from one atlas"
        ),
        Method("tyche", model="tyche", procedure="in-context", summary="Tyche, slice by slice, from one atlas"),
    )
}

#: What `evaluate` runs when it is not told: one run of the pipeline serves all three.
DEFAULT_METHODS = ("default", "model", "registration")


def parse_methods(text: str) -> list[Method]:
    """Methods from a comma-separated list of names and settings, see `parse_method`.

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
    """One method: a name, ``key=value+key=value``, or a name followed by such settings.

    Errors name the command-line option that the text came from.
    """
    first, *rest = (part.strip() for part in text.split("+"))
    base = PRESETS["default"]
    if "=" in first:
        rest = [first, *rest]
    elif first in PRESETS:
        base = PRESETS[first]
    else:
        raise InputError(
            f"{option}: no method {first!r}; expected one of {', '.join(PRESETS)}, or settings such as "
            "registration=default+model=none"
        )
    return _changed(base, text, rest, option) if rest else base


def _changed(base: Method, text: str, settings: list[str], option: str) -> Method:
    """The method with settings ``key=value`` in place of its own."""
    changes: dict[str, Any] = {}
    told: dict[str, str] = {}
    for part in settings:
        key, _, value = (piece.strip() for piece in part.partition("="))
        name = key.removeprefix(REGISTRATION_OPTION)
        if not value or not name or (name == key and key not in SETTABLE):
            raise InputError(
                f"{option}: {part!r} is no setting; expected KEY=VALUE with one of {', '.join(SETTABLE)}, or an option "
                f"of the registration such as {REGISTRATION_OPTION}iterations=50"
            )
        if name != key:
            told[name] = value
        else:
            changes[key] = _setting(key, value, option)
    method = replace(base, name=text, summary="as given on the command line", **changes)
    # Options belong to one registration: another one does not take over those of the first.
    own = dict(base.registration_options) if method.registration == base.registration else {}
    return replace(method, registration_options=tuple((own | _typed(method, told, option)).items()))


def _typed(method: Method, told: dict[str, str], option: str) -> dict[str, Any]:
    """Options of the method's registration with values of the right types; one that is not there takes any."""
    if method.registration not in REGISTRATIONS:
        return told
    try:
        return read_options(method.registration, REGISTRATIONS[method.registration].options, told)
    except InputError as error:
        raise InputError(f"{option}: {error}") from error


def _setting(key: str, value: str, option: str) -> str | bool | int:
    """The value of a setting, of the right type."""
    if key == "customise":
        return _truth_value(value, option)
    if key != "atlases":
        return value
    if not value.isdecimal():
        raise InputError(f"{option}: atlases={value}: expected a whole number")
    return int(value)


def _truth_value(text: str, option: str) -> bool:
    words = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if text.lower() not in words:
        raise InputError(f"{option}: customise={text}: expected yes or no")
    return words[text.lower()]
