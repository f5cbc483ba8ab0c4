"""``atlassegfm data``: public data sets, from the download to the layout that ``evaluate`` reads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(help="Public data sets: which there are, and how they come into the layout of evaluate.")


@data_app.command("list")
def list_command() -> None:
    """List the data sets that can be prepared, with their licence and home."""
    from atlassegfm.evaluation.prepare import SOURCES

    width = max(map(len, SOURCES))
    for name, entry in SOURCES.items():
        typer.echo(f"{name:<{width}}  {entry.title}. {entry.licence}. {entry.home}")


@data_app.command("prepare")
def prepare_command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Which data set; see `atlassegfm data list`.")],
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder or archive as downloaded from its home.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="New folder for images/ and labels/.")],
    limit: Annotated[int | None, typer.Option(min=1, help="Take the first so many cases.")] = None,
    channel: Annotated[int, typer.Option(min=0, help="Which image, where cases have several (msd).")] = 0,
) -> None:
    """Bring a downloaded data set into the layout of evaluate, checked, with licence and citation."""
    from rich.console import Console
    from rich.progress import Progress

    from atlassegfm.evaluation.prepare import prepare
    from atlassegfm.evaluation.prepare import source as source_of

    entry = source_of(name, channel)
    with Progress(console=Console(stderr=True), transient=True) as bar:
        line = bar.add_task("reading", total=None)
        found = prepare(
            entry,
            source,
            output,
            limit=limit,
            progress=lambda done, total, case: bar.update(line, completed=done, total=total, description=case),
        )
    typer.echo(f"{found.cases} cases and {len(found.labels)} labels written to {output}")
    for notice in found.notices:
        typer.echo(f"notice: {notice}")
    typer.echo(f"licence: {entry.licence}")
    typer.echo(f"cite: {entry.citation}")
    typer.echo(f"home: {entry.home}")
