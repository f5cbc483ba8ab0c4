"""``atlassegfm evaluate``: parse, run with a progress bar, print what came out."""

from __future__ import annotations

import json
import shlex
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atlassegfm.evaluation.methods import Method
    from atlassegfm.evaluation.schedule import Progress


def evaluate_command(
    dataset: Annotated[Path, typer.Argument(help="Folder with images/, labels/ and dataset.json.", metavar="DATASET")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results; run again to continue.")
    ],
    labels: Annotated[str | None, typer.Option(help="Label values, for example 1,2,6; default all.")] = None,
    preset: Annotated[
        str,
        typer.Option(help="Method to measure, with its model alone and its registration alone; as for --methods."),
    ] = "default",
    methods: Annotated[
        str | None,
        typer.Option(
            help="Methods in place of --preset: names, settings (registration=greedy+model=none) or both "
            "(vm-base+registration.iterations=50), comma-separated; the first is the reference of the tests. 'list' "
            "shows all names."
        ),
    ] = None,
    ladder: Annotated[
        str | None, typer.Option(help="A table of the paper, built on --preset; 'list' shows all.")
    ] = None,
    protocol: Annotated[str, typer.Option(help="folds, leave-one-atlas or all-pairs.")] = "folds",
    folds: Annotated[int, typer.Option(help="Number of folds; each has one atlas, its other cases are queries.")] = 5,
    atlas_ids: Annotated[str | None, typer.Option(help="These cases are atlases, each for all other cases.")] = None,
    query_ids: Annotated[str | None, typer.Option(help="Only these cases are queries.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many queries per atlas.")] = None,
    seed: Annotated[int, typer.Option(help="Shuffles the folds and seeds every method.")] = 0,
    jobs: Annotated[int, typer.Option(help="Pairs computed side by side.")] = 1,
    tolerance_mm: Annotated[float, typer.Option(help="Tolerance of the surface Dice (NSD), mm.")] = 2.0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="summary.json on stdout, nothing else there.")] = False,
) -> None:
    """Measure methods on a labelled data set: metrics, tables, a report. An interrupted run continues when repeated."""
    from atlassegfm.evaluation.api import Request, evaluate
    from atlassegfm.evaluation.ladders import ladder_left_out, ladder_reference, write_ladder
    from atlassegfm.evaluation.methods import parse_method

    if _listed(methods, ladder):
        return
    base = parse_method(preset, "--preset")
    chosen = _methods(base, methods, ladder)
    request = Request(
        dataset=dataset,
        folder=output,
        methods=chosen,
        reference="" if ladder is None else ladder_reference(base, chosen),
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
        left_out={} if ladder is None else ladder_left_out(ladder, base),
    )
    with _progress_bar() as progress:
        summary = evaluate(request, progress=progress)
    written = ["results.csv", "summary.json", "summary.md", "report.html"]
    if ladder is not None:
        written.append(write_ladder(ladder, base, summary, output).name)
    if as_json:
        typer.echo(json.dumps(summary, indent=1))
    else:
        _print_summary(summary)
        typer.echo(f"written to {output}/: {', '.join(written)}")
    _complain_if_all_failed(summary)


def _listed(methods: str | None, ladder: str | None) -> bool:
    """Print the list that was asked for with the word 'list'."""
    from atlassegfm.evaluation.availability import missing_parts
    from atlassegfm.evaluation.ladders import LADDERS
    from atlassegfm.evaluation.methods import PRESETS

    if methods == "list":
        _print_list({name: f"{method.summary}{_needs(missing_parts(method))}" for name, method in PRESETS.items()})
    if ladder == "list":
        _print_list({name: entry.title for name, entry in LADDERS.items()})
    return "list" in (methods, ladder)


def _needs(missing: list[str]) -> str:
    return f" [not here: needs {' and '.join(missing)}]" if missing else ""


def _complain_if_all_failed(summary: dict[str, Any]) -> None:
    """Raise when no pair of any method was finished: what was written holds failures alone."""
    from atlassegfm.errors import AtlasSegError

    if not any(cost["pairs"] for cost in summary["cost"].values()):
        first = summary["failures"][0]
        raise AtlasSegError(
            f"expected results, but every pair failed; cure the first reason and run again: {first['atlas']} -> "
            f"{first['query']}: {first['error']}"
        )


def _methods(base: Method, methods: str | None, ladder: str | None) -> list[Method]:
    from atlassegfm.errors import InputError
    from atlassegfm.evaluation.ladders import family, ladder_methods
    from atlassegfm.evaluation.methods import parse_methods

    if methods is not None and ladder is not None:
        raise InputError("--methods and --ladder exclude each other: a ladder is a list of methods")
    if ladder is not None:
        return ladder_methods(ladder, base)
    return family(base) if methods is None else parse_methods(methods)


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
    from atlassegfm.cli_display import counting_bar

    bar = counting_bar()
    line = bar.add_task("pairs", total=None)

    def update(done: int, total: int, text: str) -> None:
        # Begun late: what is refused before the first pair needs no bar above its one line.
        bar.start()
        bar.update(line, completed=done, total=total, description=f"pairs {text}".strip())

    try:
        yield update
    finally:
        if bar.live.is_started:
            bar.stop()


def _print_list(entries: dict[str, str]) -> None:
    width = max(map(len, entries))
    for name, text in entries.items():
        typer.echo(f"{name:<{width}}  {text}")


def _print_summary(summary: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from atlassegfm.evaluation.markdown import notices, number, p_text, pair_count, plus_minus, seconds_text

    # No lines between columns: names of methods need the room on a terminal of 80 characters.
    title = f"{summary['dataset']['name']}: {pair_count(summary)}"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_justify="left")
    table.add_column("Method", overflow="fold")
    for column in ("Dice", "NSD", "HD95 mm", "s / pair", "p (Dice)", "Failed"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, found in summary["overall"].items():
        means = [number(found["nsd"]["mean"], 3), number(found["hd95"]["mean"], 2)]
        # Nothing can be tested on one value.
        p = found["dice"]["p"] if found["dice"]["n"] > 1 else None
        cost = [seconds_text(summary["cost"][name]["seconds_mean"]), p_text(p)]
        failed = sum(f["method"] == name for f in summary["failures"])
        table.add_row(name, plus_minus(found["dice"], 3), *means, *cost, str(failed))
    console = Console()
    console.print(table)
    for notice in notices(summary):
        console.print(f"Notice: {notice}", highlight=False, markup=False)
    for failure in summary["failures"][:5]:
        text = f"Failed: {failure['method']}, {failure['atlas']} -> {failure['query']}: {failure['error']}"
        console.print(text, highlight=False, markup=False)
