"""``atlassegfm train-builtin``: make the built-in model's weights from synthetic scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer


def train_command(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="Weights to write (.safetensors).")],
    steps: Annotated[int | None, typer.Option(min=1, help="Budget in training steps.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.0, help="Budget in minutes of training.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of first weights and scenes.")] = 0,
    resume: Annotated[
        Path | None, typer.Option(metavar="CHECKPOINT", help="Go on from FILE.checkpoint of an earlier run.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    learning_rate: Annotated[float, typer.Option(help="Highest learning rate.")] = 2e-3,
    scenes: Annotated[int, typer.Option(min=1, help="Scenes in a batch; two labels are taken from each.")] = 2,
    workers: Annotated[int, typer.Option(min=0, help="Processes that make scenes.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads that train; default: all cores.")] = None,
    report_minutes: Annotated[float, typer.Option(help="Minutes between validations and checkpoints.")] = 5.0,
) -> None:
    """Train the built-in model's network on synthetic scenes; no scan of anybody is read.

    The learning rate falls to nothing at the end of the budget. With --resume, steps and minutes count from the very
    beginning, and the scenes go on where they stopped.
    """
    from atlassegfm.cli_checks import check_readable
    from atlassegfm.runtime import prepare_compute, resolve_device

    if resume is not None:
        check_readable(resume, image=False)
    prepare_compute(threads)
    device = resolve_device(device)
    import torch

    from atlassegfm.builtin.training import Plan, train

    if threads is not None:
        torch.set_num_threads(threads)
    plan = Plan(
        steps=steps,
        minutes=minutes,
        seed=seed,
        learning_rate=learning_rate,
        scenes=scenes,
        workers=workers,
        report_every=60.0 * report_minutes,
        save_every=60.0 * report_minutes,
    )
    trainer = train(plan, output, device=device, resume=resume, report=_say)
    typer.echo(f"{trainer.step} steps in {trainer.seconds / 60:.1f} minutes; weights written to {output}")


def _say(facts: dict[str, Any]) -> None:
    """One line per validation: Dice of the prior and of the refined mask for each kind of prompt."""
    pairs = "  ".join(f"{kind} {prior:.2f}>{refined:.3f}" for kind, (prior, refined) in facts["dice"].items())
    typer.echo(
        f"step {facts['step']:>6}  {facts['seconds'] / 60:6.1f} min  loss {facts['loss']:.4f}  "
        f"rate {facts['rate']:.1e}  {pairs}"
    )
