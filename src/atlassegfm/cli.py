"""The command line: parse, call, show. The work is done elsewhere; nothing heavy is imported for ``--help``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from atlassegfm.cli_bids import BidsCommand, bids_app
from atlassegfm.cli_customise import customise_command
from atlassegfm.cli_data import data_app
from atlassegfm.cli_evaluate import evaluate_command
from atlassegfm.cli_models import models_app
from atlassegfm.cli_register import register_command
from atlassegfm.cli_segment import BAD_INPUT, one_line, segment_command
from atlassegfm.cli_train import train_command

INTERRUPTED = 130


class _Group(TyperGroup):
    """Turns the errors that a user can meet into one line on stderr and an exit code."""

    def invoke(self, ctx: typer.Context) -> Any:  # noqa: ANN401 - whatever the command returns
        from atlassegfm.cli_display import say_error
        from atlassegfm.errors import AtlasSegError

        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise
        except (AtlasSegError, OSError, MemoryError) as error:
            say_error(one_line(error))
            raise typer.Exit(BAD_INPUT) from error
        except KeyboardInterrupt as error:
            say_error("interrupted")
            raise typer.Exit(INTERRUPTED) from error


app = typer.Typer(
    cls=_Group,
    help="Segment a whole cohort of medical scans from one labelled scan.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("segment")(segment_command)
app.command("bids", cls=BidsCommand)(bids_app)
app.command("register")(register_command)
app.command("evaluate")(evaluate_command)
app.command("customise")(customise_command)
app.command("train-builtin")(train_command)
app.add_typer(data_app, name="data")

app.add_typer(models_app, name="models")


def _print_version(wanted: bool) -> None:
    if wanted:
        from atlassegfm import __version__

        typer.echo(f"atlassegfm {__version__}")
        raise typer.Exit


@app.callback()
def _top(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Segment a whole cohort of medical scans from one labelled scan."""


@app.command("demo")
def demo_command(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for scans and results.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic scans and of the pipeline.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The figures as JSON on stdout, nothing else there.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log what is being done to stderr.")] = False,
) -> None:
    """Make a synthetic pair of scans, segment one from the other and compare with the known truth."""
    from atlassegfm.cli_checks import as_given, output_folder
    from atlassegfm.cli_display import StepProgress, print_result, say_warning, set_up_logging
    from atlassegfm.demo import dice_table, run_demo
    from atlassegfm.runtime import prepare_compute

    set_up_logging(verbose)
    prepare_compute()
    with output_folder(out), StepProgress(show=not as_json) as progress:
        result = run_demo(out, seed, progress)
    progress.report("demo")
    for warning in result.segmentation.warnings:
        say_warning(warning)
    outputs = as_given(result.outputs.items())
    if as_json:
        typer.echo(json.dumps({"dice": result.dice, "outputs": outputs}, indent=2))
        return
    from rich.console import Console

    print_result("query", result.segmentation)
    Console().print(dice_table(result))
    typer.echo(f"scans:   {out}/ (atlas.nii.gz, atlas_labels.nii.gz, dataset.json, query.nii.gz, query_truth.nii.gz)")
    typer.echo("written: " + ", ".join(outputs.values()))


def main() -> None:
    """Entry point of the ``atlassegfm`` command."""
    app()


if __name__ == "__main__":
    main()
