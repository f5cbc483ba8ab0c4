"""The paper's tables as ladders of methods, with the paper's printed numbers beside ours.

A ladder is built on a preset: ``--ladder table4 --preset default`` climbs from this project's registration to its full
pipeline, ``--preset paper`` does so with the paper's parts. Printed numbers are those of arXiv 2512.18176 that this
project has a source for, mean Dice in percent; the data sets, and with them the numbers, are the paper's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from atlassegfm.errors import InputError
from atlassegfm.evaluation.availability import missing_parts
from atlassegfm.evaluation.markdown import number, pair_count, seconds_text, table
from atlassegfm.evaluation.methods import PRESETS, Method
from atlassegfm.io import write_text_atomic
from atlassegfm.registration.registry import METHODS as REGISTRATIONS

#: Labels with a column of their own, at most.
MOST_LABELS = 20
#: What the column of learnable parameters counts.
LEARNT_NOTE = (
    "Learnable parameters: numbers that are trained for a pair, both directions of the registration and all labels "
    "together. A displacement field has none; of decision trees their count is given."
)
#: Registration of a preset to the same one with less done before the deformable step: nothing, rigid.
WITHOUT_AFFINE = {
    "default": ("deformable-only", "rigid-deformable"),
    "voxelmorph": ("voxelmorph-only", "voxelmorph-rigid"),
}
#: Rows of Table 7 in their order, with what a reader calls them; what else the registry has comes behind them.
BACKENDS = {
    "identity": "none: positions of the headers",
    "rigid": "rigid",
    "affine": "affine",
    "ants-syn": "ANTs SyN+A",
    "ants-syn-rigid-affine": "ANTs SyN+RA",
    "ants-syn-only": "ANTs SyN only",
    "greedy": "greedy",
    "voxelmorph": "VoxelMorph at test time (the paper's, VM-Base)",
    "default": "default (ours)",
}
#: What the paper prints for Abd-CT by foundation model and prompt (its Table 6).
PRINTED_PROMPTS = {
    "nninteractive": {"click": 65.68, "box": 72.73, "mask": 72.91},
    "medsam2": {"click": 71.64, "box": 66.65, "mask": 69.49},
}
_MODEL_TITLES = {"nninteractive": "nnInteractive", "medsam2": "MedSAM2"}
_PRINTED_VM_BASE = {"Abd-CT": 58.58, "Abd-MR": 70.21}
_PRINTED_SYN_A = {"Abd-CT": 41.65}


@dataclass(frozen=True)
class Rung:
    """One row: what the table calls it, the method, and the mean Dice (%) printed in the paper by data set."""

    title: str
    method: Method
    printed: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ladder:
    """One table: title, rows on top of a preset, and the cost that the paper prints, where that is its subject."""

    title: str
    rungs: Callable[[Method], list[Rung]]
    printed_cost: str = ""


def family(preset: Method) -> list[Method]:
    """A preset with its model alone and its registration alone: three rows of one run."""
    if preset.name == "default":
        return [PRESETS[name] for name in ("default", "model", "registration")]
    # Without a model, the registration can be measured where the model is not there.
    alone = replace(_alone(preset.registration, preset.registration_options), name=f"{preset.name}-registration")
    return [preset, replace(preset, name=f"{preset.name}-model", output="model"), alone]


def _main(base: Method) -> list[Rung]:
    full, model, registration = family(base)
    printed = {"Abd-CT": 72.91, "Abd-MR": 81.22, "OASIS": 85.08, "BrainRT OAR": 77.07}
    vessels = {"AVT": 71.56, "Fe-MRA": 84.42}
    # With the paper's own registration the two rows would be one.
    ours = [Rung("registration alone", registration)] if base.alignment != PRESETS["vm-base"].alignment else []
    return [
        *(Rung(BACKENDS[n], PRESETS[n], _PRINTED_SYN_A if n == "ants-syn" else {})
          for n in ("ants-syn", "ants-syn-rigid-affine", "ants-syn-only", "greedy")),
        Rung("VM-Base: the paper's registration alone", PRESETS["vm-base"], _PRINTED_VM_BASE),
        *ours,
        *(Rung(f"{title}, {n} click{'s' * (n > 1)}", PRESETS[f"{key}-{n}"])
          for key, title in _MODEL_TITLES.items() for n in (1, 5)),
        Rung("vesselFM alone", PRESETS["vesselfm"]),
        Rung("UniverSeg", PRESETS["universeg"]),
        Rung("Tyche", PRESETS["tyche"]),
        Rung("joint label fusion, several atlases", PRESETS["label-fusion"]),
        Rung("model alone, prompted by the atlas", model),
        Rung("full method", full, printed | vessels),
        Rung("upper bound: model with the true mask", replace(
            base, name="upper-bound", procedure="true-prompt", prompt="mask", customise=base.customise)),
    ]  # fmt: skip


def _ablation(base: Method) -> list[Rung]:
    full, model, registration = family(base)
    bare, rigid = WITHOUT_AFFINE.get(base.registration, (f"{base.registration}-only", f"{base.registration}-rigid"))
    return [
        Rung("deformable registration only", _alone(bare, base.registration_options), {"Abd-MR": 43.77}),
        Rung("+ rigid", _alone(rigid, base.registration_options), {"Abd-MR": 60.29}),
        Rung("+ affine", registration, {"Abd-MR": 70.21}),
        Rung("model alone, click at the true centre", replace(
            base, name="true-centre click", procedure="clicks", options=(("clicks", 1),))),
        Rung("+ prompts from the atlas (model alone)", model, {"Abd-MR": 69.13}),
        Rung("+ fusion", full, {"Abd-MR": 81.22}),
    ]  # fmt: skip


def _prompts(base: Method) -> list[Rung]:
    # Beside another model's rows stand the numbers of both of the paper's, and say whose they are.
    columns = {model: f"Abd-CT, {title}" for model, title in _MODEL_TITLES.items()}
    if base.model in columns:
        columns = {base.model: "Abd-CT"}
    rungs = []
    for prompt in ("click", "box", "mask"):
        printed = {column: PRINTED_PROMPTS[model][prompt] for model, column in columns.items()}
        full = replace(base, name=f"{prompt} prompt", prompt=prompt)
        rungs.append(Rung(f"{prompt}: full method", full, printed))
        rungs.append(
            Rung(f"{prompt}: model alone", replace(full, name=f"{prompt} prompt, model alone", output="model"))
        )
    return rungs


def _registrations(base: Method) -> list[Rung]:
    printed = {"ants-syn": _PRINTED_SYN_A, "voxelmorph": _PRINTED_VM_BASE}
    shortened = {name for pair in WITHOUT_AFFINE.values() for name in pair}
    others = [name for name in REGISTRATIONS if name not in shortened]
    options = {"voxelmorph": PRESETS["vm-base"].registration_options, base.registration: base.registration_options}
    return [
        Rung(BACKENDS.get(name, name), _alone(name, options.get(name, ())), printed.get(name, {}))
        for name in dict.fromkeys((*BACKENDS, *others, base.registration))
    ]


def _alone(registration: str, options: tuple[tuple[str, Any], ...] = ()) -> Method:
    return Method(f"{registration} alone", registration=registration, model="none", registration_options=options)


def _cost(base: Method) -> list[Rung]:
    full, model, registration = family(base)
    return [Rung("registration", registration), Rung("+ model", model), Rung("+ fusion", full)]


#: Name to ladder. Tables 1 to 3 of the paper have one layout and differ in the data only.
LADDERS: dict[str, Ladder] = {
    "main": Ladder("Tables 1 to 3: all methods, Dice per label and mean", _main),
    "table4": Ladder("Table 4: ablation of registration, prompts and fusion", _ablation),
    "table5": Ladder(
        "Table 5: time, memory and learnable parameters",
        _cost,
        "Printed for one label, 256x256x240 voxels, RTX 4090: registration 1.5 min, model 0.01 min, fusion 0.3 min, "
        "1.8 min in all; 1.4 M learnable parameters.",
    ),
    "table6": Ladder("Table 6: kinds of prompt", _prompts),
    "table7": Ladder("Table 7: registration backends", _registrations),
}
for _name in ("table1", "table2", "table3"):
    LADDERS[_name] = LADDERS["main"]


def ladder_rungs(name: str, preset: Method) -> list[Rung]:
    """Rows of a ladder on a preset.

    Raises
    ------
    InputError
        If there is no such ladder.
    """
    if name not in LADDERS:
        raise InputError(f"--ladder: no ladder {name!r}; expected one of {', '.join(LADDERS)}")
    return LADDERS[name].rungs(preset)


def ladder_methods(name: str, preset: Method) -> list[Method]:
    """Methods of a ladder that can run here.

    Raises
    ------
    InputError
        If none of them can.
    """
    rungs = ladder_rungs(name, preset)
    methods = [r.method for r in rungs if not missing_parts(r.method)]
    if not methods:
        raise InputError(
            f"--ladder {name}: none of its methods can run here ({'; '.join(missing_parts(rungs[0].method))})"
        )
    return list(dict.fromkeys(methods))


def ladder_left_out(name: str, preset: Method) -> dict[str, str]:
    """Rows of a ladder that cannot run here, each with what it needs."""
    missing = {r.title: missing_parts(r.method) for r in ladder_rungs(name, preset)}
    return {title: " and ".join(parts) for title, parts in missing.items() if parts}


def ladder_reference(preset: Method, methods: list[Method]) -> str:
    """The method that the tests of a ladder compare with.

    The preset itself, or else the last whole method that sees no truth, or else the last.
    """
    names = [m.name for m in methods if not m.sees_truth and m.output == "final"]
    return preset.name if preset.name in names else names[-1] if names else methods[-1].name


def ladder_markdown(name: str, preset: Method, summary: dict[str, Any]) -> str:
    """The table as Markdown: ours measured, the paper's marked as printed, missing rows with their reason."""
    ladder, rungs = LADDERS[name], ladder_rungs(name, preset)
    sets = list(dict.fromkeys(s for r in rungs for s in r.printed))
    columns = _columns(summary, with_learnt=bool(ladder.printed_cost))
    body, absent = [], []
    for rung in rungs:
        printed = [number(rung.printed.get(s), 2) for s in sets]
        if rung.method.name in summary["overall"]:
            body.append([rung.title, *(cell(rung.method.name) for _, cell in columns), *printed])
        else:
            absent.append(f"- {rung.title}: needs {' and '.join(missing_parts(rung.method))}")
            body.append([rung.title, *["not run"] * len(columns), *printed])
    dataset, protocol = summary["dataset"], summary["protocol"]
    parts = [
        f"# {ladder.title}",
        f"Preset: {preset.name}. Measured on {dataset['name']}, {pair_count(summary)}, {protocol['description']}.",
        "Columns headed 'printed' are the paper's own numbers (arXiv 2512.18176, mean Dice in %, on the paper's data), "
        "not measured here.",
        table(["", *(heading for heading, _ in columns), *(f"printed: {s}" for s in sets)], body),
    ]
    steps = _step_table(summary, [r.method.name for r in rungs])
    parts += [f"Seconds per step, mean over pairs:\n\n{steps}"] if steps else []
    parts += [LEARNT_NOTE, ladder.printed_cost] if ladder.printed_cost else []
    parts += ["Not run here:\n\n" + "\n".join(absent)] if absent else []
    return "\n\n".join(parts) + "\n"


def _columns(summary: dict[str, Any], *, with_learnt: bool) -> list[tuple[str, Callable[[str], str]]]:
    """Headings, each with what gives a method's cell."""
    overall, cost = summary["overall"], summary["cost"]
    labels = list(summary["per_label"])[:MOST_LABELS]
    per_label = [
        (summary["labels"][v], lambda m, v=v: _percent(summary["per_label"][v][m]["dice"]["mean"])) for v in labels
    ]
    columns = {
        "Mean Dice %": lambda m: _percent(overall[m]["dice"]["mean"]),
        "SD": lambda m: _percent(overall[m]["dice"]["sd"] if overall[m]["dice"]["n"] > 1 else None),
        "NSD %": lambda m: _percent(overall[m]["nsd"]["mean"]),
        "HD95 mm": lambda m: number(overall[m]["hd95"]["mean"], 2),
        "clDice %": lambda m: _percent(overall[m]["cldice"]["mean"]),
        "s / pair": lambda m: seconds_text(cost[m]["seconds_mean"]),
        "Peak MB": lambda m: number(cost[m]["peak_mb_max"], 0),
    }
    if with_learnt:
        columns["Learnable parameters"] = lambda m: learnt_text(cost[m])
    return [*per_label, *columns.items()]


def learnt_text(cost: dict[str, Any]) -> str:
    """Learnable parameters of a method as a table prints them, trees beside them; a dash where nothing is known."""
    parameters, trees = cost.get("learnable_parameters"), cost.get("trees")
    if parameters is None:
        return number(None, 0)
    return f"{parameters:,}" + (f" and {trees:,} trees" if trees else "")


def _percent(value: float | None) -> str:
    return number(None if value is None else 100 * value, 2)


def _step_table(summary: dict[str, Any], methods: list[str]) -> str:
    costs = {m: summary["cost"][m].get("steps", {}) for m in methods if m in summary["cost"]}
    steps = list(dict.fromkeys(step for cost in costs.values() for step in cost))
    if not steps:
        return ""
    return table(["Method", *steps], [[m, *(number(c.get(s), 2) for s in steps)] for m, c in costs.items()])


def write_ladder(name: str, preset: Method, summary: dict[str, Any], folder: Path) -> Path:
    """Write ``ladder_NAME.md`` and return its path."""
    path = folder / f"ladder_{name}.md"
    write_text_atomic(path, ladder_markdown(name, preset, summary))
    return path
