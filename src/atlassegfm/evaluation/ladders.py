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
from atlassegfm.evaluation.markdown import number, seconds_text, table
from atlassegfm.evaluation.methods import PRESETS, Method
from atlassegfm.io import write_text_atomic

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
    return [
        preset,
        replace(preset, name=f"{preset.name}-model", output="model"),
        replace(preset, name=f"{preset.name}-registration", output="atlas"),
    ]


def _main(base: Method) -> list[Rung]:
    full, model, registration = family(base)
    printed = {"Abd-CT": 72.91, "Abd-MR": 81.22, "OASIS": 85.08, "BrainRT OAR": 77.07}
    vessels = {"AVT": 71.56, "Fe-MRA": 84.42}
    return [
        Rung("ANTs SyN", PRESETS["ants-syn"], {"Abd-CT": 41.65}),
        Rung("greedy", PRESETS["greedy"]),
        Rung("registration alone", registration, {"Abd-CT": 58.58, "Abd-MR": 70.21}),
        *(Rung(f"{title}, {n} click(s)", PRESETS[f"{key}-{n}"])
          for key, title in (("nninteractive", "nnInteractive"), ("medsam2", "MedSAM2")) for n in (1, 5)),
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
        Rung("deformable registration only", _alone(bare), {"Abd-MR": 43.77}),
        Rung("+ rigid", _alone(rigid), {"Abd-MR": 60.29}),
        Rung("+ affine", registration, {"Abd-MR": 70.21}),
        Rung("model alone, click at the true centre", replace(
            base, name="true-centre click", procedure="clicks", options=(("clicks", 1),))),
        Rung("+ prompts from the atlas (model alone)", model, {"Abd-MR": 69.13}),
        Rung("+ fusion", full, {"Abd-MR": 81.22}),
    ]  # fmt: skip


def _prompts(base: Method) -> list[Rung]:
    printed = {"click": 65.68, "box": 72.73, "mask": 72.91} if base.model == "nninteractive" else {}
    if base.model == "medsam2":
        printed = {"click": 71.64, "box": 66.65, "mask": 69.49}
    rungs = []
    for prompt in ("click", "box", "mask"):
        full = replace(base, name=f"{prompt} prompt", prompt=prompt)
        shown = {"Abd-CT": printed[prompt]} if printed else {}
        rungs.append(Rung(f"{prompt}: full method", full, shown))
        rungs.append(
            Rung(f"{prompt}: model alone", replace(full, name=f"{prompt} prompt, model alone", output="model"))
        )
    return rungs


def _registrations(base: Method) -> list[Rung]:
    printed = {"ants-syn": {"Abd-CT": 41.65}, "voxelmorph": {"Abd-CT": 58.58, "Abd-MR": 70.21}}
    names = ["identity", "rigid", "affine", "ants-syn", "greedy", "voxelmorph", "default"]
    if base.registration not in names:
        names.append(base.registration)
    return [Rung(name, _alone(name), printed.get(name, {})) for name in names]


def _alone(registration: str) -> Method:
    return Method(f"{registration} alone", registration=registration, model="none")


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


def ladder_reference(preset: Method, methods: list[Method]) -> str:
    """The method that the tests of a ladder compare with: the preset itself, or else the last that sees no truth."""
    names = [m.name for m in methods if not m.sees_truth]
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
        f"Preset: {preset.name}. Measured on {dataset['name']}, {len(protocol['pairs'])} pair(s), "
        f"{protocol['description']}.",
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
