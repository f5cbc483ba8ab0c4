"""``atlassegfm models``: what there is, what each takes, and the download of weights."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer

models_app = typer.Typer(
    help="Segmentation models: what there is, what each takes and under which licence; download of weights."
)
#: Columns of a terminal from which the list has room for what each model is.
ROOM_FOR_SUMMARY = 150
_Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a model.")]
_Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, nothing else there.")]


@models_app.callback(invoke_without_command=True)
def _models(ctx: typer.Context) -> None:
    if ctx.invoked_subcommand is None:
        list_models()


@models_app.command("list")
def list_models(as_json: _Json = False) -> None:
    """List the models: prompts, licence of the weights, size, and what is there already."""
    from atlassegfm.cli_display import say_warning
    from atlassegfm.errors import ModelError
    from atlassegfm.models.registry import MODELS

    found = {}
    for name in MODELS:
        try:
            found[name] = _facts(name)
        except ModelError as error:
            # A broken package of somebody else must not hide the other models.
            say_warning(str(error))
    if as_json:
        typer.echo(json.dumps(list(found.values()), indent=2))
        return
    _print_table(list(found.values()))


def _facts(name: str) -> dict[str, Any]:
    """What lists and pages tell of a model, JSON-ready."""
    from dataclasses import fields

    from atlassegfm.models.registry import model_info
    from atlassegfm.models.weights import given_weights, is_downloaded

    info = model_info(name)
    weights = info.weights
    given = given_weights(info) if weights is not None else None
    options = [] if info.options is None else [f.name for f in fields(info.options)]
    facts: dict[str, Any] = {
        "name": info.name,
        "summary": info.summary,
        "dimension": info.dimension,
        "prompts": list(info.prompts),
        "modalities": list(info.modalities),
        "intensity": info.intensity,
        "spacing": info.spacing,
        "options": options,
        "licence": info.licence,
        "extra": info.extra,
        "installed": info.installed,
        "weights": None,
    }
    if weights is not None:
        facts["weights"] = {
            "source": weights.source,
            "files": list(weights.files) or [weights.main],
            "sha256": dict(weights.sha256) or None,
            "about_mb": weights.about_mb,
            "licence": weights.licence,
            "commercial": weights.commercial,
            "downloaded": is_downloaded(info),
            "given": None if given is None else str(given),
        }
    return facts


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Away from a terminal there is no width to fit into.
    console = Console() if sys.stdout.isatty() else Console(width=220)
    columns = ["name", "prompts", "licence of the weights", "MB", "installed", "weights"]
    columns += ["what it is"] if console.width >= ROOM_FOR_SUMMARY else []
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column == "MB" else "left", overflow="fold")
    for row in rows:
        weights = row["weights"]
        cells = (
            row["name"],
            ", ".join(row["prompts"]),
            weights["licence"] if weights else "-",
            str(weights["about_mb"]) if weights else "-",
            "yes" if row["installed"] else f"no: {row['extra']}",
            _state(weights),
            row["summary"],
        )
        table.add_row(*map(Text, cells[: len(columns)]))
    console.print(table)


def _state(weights: dict[str, Any] | None) -> str:
    if weights is None:
        return "-"
    if weights["given"] is not None:
        return "given"
    return "downloaded" if weights["downloaded"] else "not here"


@models_app.command("info")
def show_model(name: _Name, as_json: _Json = False) -> None:
    """Show what a model takes, its licences, and where its weights come from."""
    from atlassegfm.cli_checks import check_choice
    from atlassegfm.models.registry import MODELS, model_info

    info = model_info(check_choice(name, MODELS, "NAME"))
    facts = _facts(name)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    rows = {
        "name": info.name,
        "summary": info.summary,
        "dimension": info.dimension,
        "prompts": ", ".join(info.prompts) + " (the first is what --prompt auto gives)",
        "modalities": ", ".join(info.modalities),
        "intensity": info.intensity,
        "spacing": info.spacing,
        "options": ", ".join(facts["options"]) or "none",
        "licence": info.licence,
        "install": f"pip install 'atlassegfm[{info.extra}]'" if info.extra else "nothing more",
        **_weights_rows(facts["weights"], info.weights_variable),
    }
    for key, value in rows.items():
        typer.echo(f"{key + ':':<18} {value}")


def _weights_rows(weights: dict[str, Any] | None, variable: str) -> dict[str, str]:
    if weights is None:
        return {"weights": "none needed"}
    pins = weights["sha256"]
    return {
        "weights": f"{weights['source']}, about {weights['about_mb']} MB: {', '.join(weights['files'])}",
        "weights licence": weights["licence"] + (" (no commercial use)" if weights["commercial"] is False else ""),
        "weights sha256": ", ".join(f"{n}: {h}" for n, h in pins.items())
        if pins
        else "not known to this project; recorded when downloaded",
        "weights here": f"given by {variable}: {weights['given']}" if weights["given"] else _state(weights),
    }


@models_app.command("download")
def download_model(
    name: _Name,
    accept_licence: Annotated[
        bool, typer.Option("--accept-licence", help="Accept the licence of the weights without being asked.")
    ] = False,
    accept_unpinned: Annotated[
        bool,
        typer.Option("--accept-unpinned", help="Go on without being asked where this project knows no hash."),
    ] = False,
    sha256: Annotated[
        str | None, typer.Option("--sha256", metavar="HASH", help="What the SHA-256 of the weights has to be.")
    ] = None,
) -> None:
    """Download a model's weights: shows the licence, asks, resumes what was broken off, verifies the hash."""
    from atlassegfm.cli_checks import check_choice
    from atlassegfm.cli_display import set_up_logging
    from atlassegfm.models.download import download, licence_text
    from atlassegfm.models.registry import MODELS, model_info
    from atlassegfm.models.weights import MANIFEST, is_downloaded

    set_up_logging(verbose=False)
    info = model_info(check_choice(name, MODELS, "NAME"))
    if info.weights is not None and is_downloaded(info):
        typer.echo(f"{name}: downloaded already")
        return

    def ask(text: str) -> bool:
        licence = info.weights is not None and text == licence_text(info)
        if accept_licence if licence else accept_unpinned:
            typer.echo(text, err=True)
            return True
        if not sys.stdin.isatty():
            option = "--accept-licence" if licence else "--accept-unpinned, or --sha256 HASH"
            typer.echo(f"{text}\n(no terminal to ask at: give {option})", err=True)
            return False
        return typer.confirm(text, err=True)

    folder = download(info, ask, sha256=sha256)
    record = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    for file, facts in record["files"].items():
        typer.echo(f"{facts['sha256']}  {file}  ({facts['bytes']} bytes, {facts['checked']})")
    typer.echo(f"downloaded: {folder}")
