"""``atlassegfm customise``: let the built-in model learn an atlas before there are queries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from atlassegfm.models.registry import MODELS


def customise_command(
    atlas: Annotated[Path, typer.Option("--atlas", metavar="IMG", help="The labelled scan.")],
    labels: Annotated[Path, typer.Option("--labels", metavar="SEG", help="Its label map, RTSTRUCT or DICOM SEG.")],
    query: Annotated[
        Path | None, typer.Option("--query", metavar="IMG", help="A scan of the cohort, to measure registration on.")
    ] = None,
    only: Annotated[
        str | None, typer.Option("--only", metavar="LIST", help="Label values to use, such as 1,2,6; as for segment.")
    ] = None,
    prompt: Annotated[str, typer.Option(help="What the network will be given: mask, click, box, box2d.")] = "mask",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="The seed that segment will be given.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The facts as JSON on stdout, nothing else there.")] = False,
) -> None:
    """Customise the built-in model by one atlas; segment does so by itself when it has to, and finds the result.

    Network and trees are kept under a hash of the atlas, its labels, the seed and the settings in the folder
    "customised" of ATLASSEGFM_HOME, or of the user's cache. They remember something of the atlas: delete them with it.
    """
    from atlassegfm.cli_checks import check_choice, check_readable, whole_numbers

    check_choice(prompt, MODELS["builtin-network"].prompts, "--prompt")
    for path in (atlas, labels, *([] if query is None else [query])):
        check_readable(path)
    values = whole_numbers(only, "--only")
    from atlassegfm.atlas import Atlas
    from atlassegfm.customising import customise
    from atlassegfm.io import read_image
    from atlassegfm.models.store import cache_folder

    facts = customise(
        Atlas.load(atlas, labels, only=values),
        None if query is None else read_image(query),
        prompt=prompt,
        device=device,
        seed=seed,
    )
    typer.echo(json.dumps(facts, indent=2) if as_json else f"{_summary(facts)}\nkept in {cache_folder()}")


def _summary(facts: dict[str, Any]) -> str:
    """What was learnt, in one line."""
    loss = facts["held_out_loss"]
    return (
        f"{'found again: ' if facts['found_again'] else ''}{facts['steps']} steps; loss on held-out lessons "
        f"{loss['shipped']:.3f} as shipped, {loss['customised']:.3f} customised: "
        f"{'customised' if facts['customised'] else 'no better, so the shipped'} weights are used"
    )
