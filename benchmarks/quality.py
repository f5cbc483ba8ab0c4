"""Predicted against true Dice on scans whose truth is known: docs/results/quality.md and .png.

    python benchmarks/quality.py                                  # the pairs of the bar, with a model and without
    python benchmarks/quality.py --pairs dev-heart-mr,hippocampus # some of them, see benchmarks/registration_pairs.py
    python benchmarks/quality.py --page-only                      # judge anew what was measured, write the page

Each pair leaves a file in --folder and is not computed again; judging anew takes the signals from there.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from registration_pairs import GROUPS, select

ROOT = Path(__file__).resolve().parents[1]
MODELS = ("builtin", "none")
ABOUT = """What the program predicts without ground truth ([how](../decisions/0014-quality.md)), on scans whose truth is
known. One labelled scan of each set is the atlas; no label of a query, and none of these scans, is behind the
prediction. The interval is meant to hold the true Dice in 80 % of the cases. Few scans: take the numbers as rough ones.
"""
#: True Dice below which a result must not be called good.
BAD = 0.5


@dataclass(frozen=True)
class Row:
    """One label of one result: what is true and what was said of it."""

    set_name: str
    model: str
    atlas: str
    query: str
    label: str
    dice: float
    score: float
    low: float
    high: float
    word: str
    reasons: tuple[str, ...]


def shifted_cache(query, shift_mm):
    """A cache of registrations whose way to the query ends up `shift_mm` beside it along x: a useless prior."""
    from atlassegfm.registration.cache import RegistrationCache
    from atlassegfm.registration.transform import Affine, Transform

    aside = np.eye(4)
    aside[0, 3] = shift_mm

    class Shifted(RegistrationCache):
        def register(self, fixed, moving, method, settings):
            result, saved = super().register(fixed, moving, method, settings)
            if fixed is query:
                result = replace(result, transform=Transform((Affine(aside), *result.transform.stages)))
            return result, saved

    return Shifted()


def measure(pair, data, model, customise, shift_mm):
    """Signals and true Dice of the labels of one pair."""
    from atlassegfm.atlas import Atlas
    from atlassegfm.io import read_image, read_labels
    from atlassegfm.overlap import dice
    from atlassegfm.pipeline import segment

    folder = data / pair.dataset
    places = [folder / kind / f"{pair.atlas}.nii.gz" for kind in ("images", "labels")]
    names = folder / "dataset.json"
    atlas = Atlas.load(*places, only=list(pair.labels), names=names if names.exists() else None)
    query = read_image(folder / "images" / f"{pair.query}.nii.gz")
    options = {} if customise or model == "none" else {"model_options": {"customise": "no"}}
    found = segment(atlas, query, model=model, cache=shifted_cache(query, shift_mm), **options)
    truth = read_labels(folder / "labels" / f"{pair.query}.nii.gz")
    report = found.report
    return {
        "doubts": report["registration"].get("doubts", []),
        "suspicions": report["suspicions"],
        "seconds": report["timings"],
        "labels": [
            {
                "value": e["value"],
                "name": e["name"],
                "dice": float(dice(found.labels.data == e["value"], truth.data == e["value"])),
                "signals": e["quality"]["signals"],
            }
            for e in report["labels"]
            if np.count_nonzero(truth.data == e["value"])
        ],
    }


def rows_of(entry, pair, model):
    """Judge what was measured with the calibration as it stands."""
    from atlassegfm.quality import Signals, judge
    from atlassegfm.suspecting import suspicions_of_label

    for label in entry["labels"]:
        suspicions = [*entry["suspicions"], *suspicions_of_label(label["name"])]
        verdict = judge(Signals(**label["signals"]), doubts=entry["doubts"], suspicions=suspicions)
        yield Row(
            pair.set_name, model, pair.atlas, pair.query, label["name"], label["dice"],
            verdict.score, *verdict.interval, verdict.word, verdict.reasons,
        )  # fmt: skip


def figures(rows):
    """The numbers of one line of the table."""
    true, told = np.array([r.dice for r in rows]), np.array([r.score for r in rows])
    bad = true < BAD
    varied = len(rows) > 2 and true.std() > 0 and told.std() > 0
    good = np.array([r.word == "good" for r in rows])
    return {
        "labels": len(rows),
        "true Dice": f"{true.mean():.3f}",
        "predicted": f"{told.mean():.3f}",
        "Pearson r": f"{np.corrcoef(true, told)[0, 1]:.2f}" if varied else "-",
        "MAE": f"{np.abs(true - told).mean():.3f}",
        "in the interval": f"{100 * np.mean([r.low <= r.dice <= r.high for r in rows]):.0f} %",
        "called good": int(good.sum()),
        "do not use": sum(r.word == "do not use" for r in rows),
        f"true Dice below {BAD}": int(bad.sum()),
        "of these called good": int((bad & good).sum()),
    }


def table(groups):
    """Markdown, one line per group of rows."""
    lines = [{"": name, **figures(rows)} for name, rows in groups.items() if rows]
    head = list(lines[0])
    out = ["| " + " | ".join(head) + " |", "| --- |" + " ---: |" * (len(head) - 1)]
    return "\n".join([*out, *("| " + " | ".join(str(line[key]) for key in head) + " |" for line in lines)])


def scatter(path, rows):
    """True against predicted Dice with the intervals."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    models = list(dict.fromkeys(row.model for row in rows))
    size = (5.2 * len(models), 5.2)
    figure, axes = pyplot.subplots(1, len(models), figsize=size, squeeze=False, layout="constrained")
    for axis, model in zip(axes[0], models, strict=True):
        for number, name in enumerate(dict.fromkeys(row.set_name for row in rows)):
            mine = [r for r in rows if r.model == model and r.set_name == name]
            if not mine:
                continue
            x, y = [r.score for r in mine], [r.dice for r in mine]
            axis.scatter(x, y, s=22, color=f"C{number}", label=name, zorder=3)
            axis.hlines(y, [r.low for r in mine], [r.high for r in mine], color=f"C{number}", alpha=0.25, lw=1)
        axis.plot([0, 1], [0, 1], color="0.6", lw=0.8)
        axis.axhline(BAD, color="0.6", lw=0.8, ls=":")
        axis.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted Dice, with its interval", ylabel="true Dice", title=model)
        axis.set_aspect("equal")
        axis.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def page(rows, stress, facts):
    """The page as Markdown."""
    by_model = {model: [r for r in rows if r.model == model] for model in MODELS}
    sets = list(dict.fromkeys(r.set_name for r in rows))
    parts = ["# Predicted against true Dice\n", ABOUT]
    for model, mine in by_model.items():
        if mine:
            groups = {**{name: [r for r in mine if r.set_name == name] for name in sets}, "all": mine}
            parts.append(f"## `--model {model}`\n\n{table(groups)}\n")
    parts.append("![true against predicted Dice](quality.png)\n")
    if stress:
        groups = {f"`{m}`, {n}": [r for r in stress if (r.model, r.set_name) == (m, n)] for m in MODELS for n in sets}
        parts.append(f"## A useless prior, 30 mm beside the place\n\n{table(groups)}\n")
    wrong = sorted(rows, key=lambda r: -abs(r.score - r.dice))[:12]
    lines = ["| set | model | pair | label | true | predicted | interval | word | reasons |", "| --- |" * 1]
    lines[1] = "| --- | --- | --- | --- | ---: | ---: | --- | --- | --- |"
    lines += [
        f"| {r.set_name} | {r.model} | {r.atlas} to {r.query} | {r.label} | {r.dice:.2f} | {r.score:.2f} | "
        f"{r.low:.2f} to {r.high:.2f} | {r.word} | {'; '.join(r.reasons)} |"
        for r in wrong
    ]
    parts.append("## The twelve that are furthest off\n\n" + "\n".join(lines) + "\n")
    parts.append("\n".join(f"- {key}: {value}" for key, value in facts.items() if key != "packages") + "\n")
    return "\n".join(parts)


def main():
    """Measure what is missing, judge, write."""
    from atlassegfm.evaluation.environment import environment
    from atlassegfm.io import write_text_atomic
    from atlassegfm.runtime import prepare_compute

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the sets")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "quality", help="one file per pair")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results" / "quality.md", help="the page to write")
    parser.add_argument("--pairs", default="all", help=f"out of {', '.join(GROUPS)}")
    parser.add_argument("--limit", type=int, default=6, help="pairs of each set, at most")
    parser.add_argument("--models", default=",".join(MODELS), help="models to measure")
    parser.add_argument("--shift", type=float, default=30.0, help="mm that a useless prior is off, on the first pair")
    parser.add_argument("--no-customise", action="store_true", help="the built-in network as it was shipped: quicker")
    parser.add_argument("--note", default="", help="what else is to be said of the measurements on the page")
    parser.add_argument("--page-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    prepare_compute()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows, stress, seen = [], [], set()
    for pair in select(arguments.pairs.split(","), arguments.data, arguments.limit):
        shifts = [0.0] if pair.set_name in seen or not arguments.shift else [0.0, arguments.shift]
        seen.add(pair.set_name)
        for model, shift in ((m, s) for m in arguments.models.split(",") for s in shifts):
            name = f"{pair.set_name}_{pair.atlas}_{pair.query}_{model}{f'_{shift:.0f}mm' if shift else ''}.json"
            path = arguments.folder / name
            if not path.exists() and not arguments.page_only:
                entry = measure(pair, arguments.data, model, not arguments.no_customise, shift)
                write_text_atomic(path, json.dumps(entry, indent=1))
                print(name, [round(label["dice"], 2) for label in entry["labels"]], flush=True)
            if path.exists():
                (stress if shift else rows).extend(rows_of(json.loads(path.read_text()), pair, model))
    options = f"--pairs {arguments.pairs} --limit {arguments.limit}{' --no-customise' * arguments.no_customise}"
    facts = environment(1, f"python benchmarks/quality.py {options}")
    text = page(rows, stress, facts | ({"note": arguments.note} if arguments.note else {}))
    write_text_atomic(arguments.page, text)
    scatter(arguments.page.with_suffix(".png"), rows)
    print(text)


if __name__ == "__main__":
    main()
