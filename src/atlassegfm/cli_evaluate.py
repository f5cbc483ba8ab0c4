"""``atlassegfm evaluate``: parse, run with a progress bar, print what came out."""

from __future__ import annotations

import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atlassegfm.evaluation.schedule import Progress


def evaluate_command(
    dataset: Annotated[Path, typer.Argument(help="Folder with images/, labels/ and dataset.json.", metavar="DATASET")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the results; run again to continue.")],
    labels: Annotated[str | None, typer.Option(help="Label values, for example 1,2,6; default all.")] = None,
    methods: Annotated[
        str,
        typer.Option(
            help="Names or settings (registration=greedy+model=none), comma-separated; the first is the "
            "reference of the tests. 'list' shows all names."
        ),
    ] = "default,model,registration",
    ladder: Annotated[
        str | None, typer.Option(help="A table of the paper instead of --methods; 'list' shows all.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="folds, leave-one-atlas or all-pairs.")] = "folds",
    folds: Annotated[int, typer.Option(help="Number of folds; each has one atlas, its other cases are queries.")] = 5,
    atlas_ids: Annotated[str | None, typer.Option(help="These cases are atlases, each for all other cases.")] = None,
    query_ids: Annotated[str | None, typer.Option(help="Only these cases are queries.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many queries per atlas.")] = None,
    seed: Annotated[int, typer.Option(help="Shuffles the folds and seeds every method.")] = 0,
    jobs: Annotated[int, typer.Option(help="Pairs computed side by side.")] = 1,
    tolerance_mm: Annotated[float, typer.Option(help="Tolerance of the surface Dice (NSD).")] = 2.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Measure methods on a labelled data set: metrics, tables, a report. Interrupted runs continue where they stopped."""
    from atlassegfm.evaluation.api import Request, evaluate
    from atlassegfm.evaluation.ladders import LADDERS, ladder_methods, write_ladder
    from atlassegfm.evaluation.methods import PRESETS, parse_methods

    if "list" in (methods, ladder):
        _print_list(
            {name: m.summary for name, m in PRESETS.items()}
            if methods == "list"
            else {name: entry.title for name, entry in LADDERS.items()}
        )
        return
    request = Request(
        dataset=dataset,
        folder=output,
        methods=parse_methods(methods) if ladder is None else ladder_methods(ladder),
        labels=_integers(labels, "--labels"),
        protocol=protocol,
        folds=folds,
        atlas_ids=_words(atlas_ids),
        query_ids=_words(query_ids),
        limit=limit,
        seed=seed,
        tolerance_mm=tolerance_mm,
        device=device,
        jobs=jobs,
        command=shlex.join(["atlassegfm", *sys.argv[1:]]),
    )
    with _progress_bar() as progress:
        summary = evaluate(request, progress=progress)
    if ladder is not None:
        write_ladder(ladder, summary, output)
    _print_summary(summary, output)


def _words(text: str | None) -> list[str] | None:
    return None if text is None else [word.strip() for word in text.split(",") if word.strip()]


def _integers(text: str | None, option: str) -> list[int] | None:
    from atlassegfm.errors import InputError

    words = _words(text)
    if words is None:
        return None
    if not words or not all(word.isdecimal() for word in words):
        raise InputError(f"{option}: expected whole numbers such as 1,2,6, got {text!r}")
    return [int(word) for word in words]


@contextmanager
def _progress_bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        line = bar.add_task("pairs", total=None)
        yield lambda done, total, text: bar.update(
            line, completed=done, total=total, description=f"pairs {text}".strip()
        )


def _print_list(entries: dict[str, str]) -> None:
    width = max(map(len, entries))
    for name, text in entries.items():
        typer.echo(f"{name:<{width}}  {text}")


def _print_summary(summary: dict[str, Any], folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from atlassegfm.evaluation.markdown import number, p_text, plus_minus

    table = Table(title=f"{summary['dataset']['name']}: {len(summary['protocol']['pairs'])} pairs")
    for column in ("Method", "Dice", "NSD", "HD95 (mm)", "s / pair", "p (Dice)", "Failed"):
        table.add_column(column, justify="left" if column == "Method" else "right")
    for name, found in summary["overall"].items():
        failed = sum(f["method"] == name for f in summary["failures"])
        table.add_row(
            name, *(plus_minus(found[k], d) for k, d in (("dice", 3), ("nsd", 3), ("hd95", 1))),
            number(summary["cost"][name]["seconds_mean"], 1), p_text(found["dice"]["p"]), str(failed),
        )  # fmt: skip
    console = Console()
    console.print(table)
    for notice in summary["protocol"]["notices"]:
        console.print(f"Notice: {notice}", highlight=False, markup=False)
    for failure in summary["failures"][:5]:
        text = f"Failed: {failure['method']}, {failure['atlas']} -> {failure['query']}: {failure['error']}"
        console.print(text, highlight=False, markup=False)
    console.print(
        f"Written: {folder}/results.csv, summary.json, summary.md, report.html", highlight=False, markup=False
    )
