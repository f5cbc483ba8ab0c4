"""What the command line shows: progress with step names and times on stderr, tables on stdout, logs."""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from atlassegfm.atlas import Atlas
    from atlassegfm.segmentation import Segmentation


#: Time over which the speed of a counting bar is measured.
SPEED_SECONDS = 86_400.0


@functools.cache
def _stderr() -> Console:
    """One console for bars and logs, which otherwise write over each other."""
    from rich.console import Console

    return Console(stderr=True)


def set_up_logging(verbose: bool) -> None:
    """Send logs to stderr; debug messages of AtlasSegFM only when asked for."""
    from rich.logging import RichHandler

    handler = RichHandler(console=_stderr(), show_path=False, markup=False, log_time_format="%H:%M:%S")
    logger = logging.getLogger("atlassegfm")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.DEBUG if verbose else logging.WARNING)


def counting_bar(*, transient: bool = False) -> Progress:
    """A bar with count, time spent and time left, on stderr; not begun yet. Descriptions are shown as they are.

    Lines without a total show that something goes on, and since when.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.text import Text

    class Count(MofNCompleteColumn):
        def render(self, task: Task) -> Text:
            return Text("") if task.total is None else super().render(task)

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        Count(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    # What is counted may take minutes: the speed is that of the whole run, not of the last half minute.
    return Progress(*columns, console=_stderr(), transient=transient, speed_estimate_period=SPEED_SECONDS)


class StepProgress:
    """Progress bars, one per step, with the time each takes; shows nothing when stderr is not a terminal.

    Call it like the pipeline's `progress`: with the step's name and the fraction of it that is done. Names such as
    "registration: affine" are parts of one step and share its bar.
    """

    def __init__(self, show: bool) -> None:
        self.seconds: dict[str, float] = {}
        self._started = time.perf_counter()
        self._step: str | None = None
        self._tasks: dict[str, TaskID] = {}
        self._bar: Progress | None = None
        if show and sys.stderr.isatty():
            from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=_stderr(), transient=True)

    def __enter__(self) -> StepProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_step()
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, step: str, fraction: float) -> None:
        """Show that `fraction` of `step` is done."""
        whole = step.partition(":")[0]
        if whole != self._step:
            self._close_step()
            self._step, self._started = whole, time.perf_counter()
            if self._bar is not None and whole not in self._tasks:
                self._tasks[whole] = self._bar.add_task(whole, total=1.0)
        if self._bar is not None:
            from rich.markup import escape

            # Escaped, because a label may be called "[red]".
            done = min(1.0, max(0.0, fraction))
            self._bar.update(self._tasks[whole], completed=done, description=escape(step))

    def _close_step(self) -> None:
        if self._step is not None:
            spent = time.perf_counter() - self._started
            self.seconds[self._step] = self.seconds.get(self._step, 0.0) + spent
            if self._bar is not None:
                # A finished task's clock stands still.
                self._bar.update(self._tasks[self._step], completed=1.0, description=self._step)
        self._step = None

    def report(self, name: str) -> None:
        """On a terminal, one line with the time of each step, in place of the bars that have gone."""
        if self._bar is not None:
            parts = ", ".join(f"{step} {seconds:.1f}" for step, seconds in self.seconds.items())
            typer.echo(f"{name}: {sum(self.seconds.values()):.1f} s ({parts})", err=True)


def say_warning(message: str) -> None:
    """One line on stderr."""
    typer.echo(f"warning: {message}", err=True)


def say_notices(atlases: Sequence[Atlas]) -> None:
    """What was assumed or changed while the atlases were loaded."""
    for number, atlas in enumerate(atlases, 1):
        for notice in atlas.notices:
            say_warning(f"atlas: {notice}" if len(atlases) == 1 else f"atlas {number}: {notice}")


def say_error(message: str) -> None:
    """One line on stderr, whatever the message holds."""
    typer.echo("error: " + " ".join(message.split()), err=True)


def print_result(name: str, segmentation: Segmentation) -> None:
    """Table of one query on stdout: label, volume, quality."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from atlassegfm.report.facts import label_facts, predicted

    table = Table(title=Text(name), title_justify="left")
    table.add_column("label", justify="right")
    table.add_column("name")
    table.add_column("volume, ml", justify="right")
    table.add_column("quality")
    table.add_column("Dice, predicted")
    table.add_column("why")
    for fact in label_facts(segmentation):
        quality = fact["quality"]
        word, reasons = quality.get("word", ""), "; ".join(map(str, quality.get("reasons", [])))
        volume = f"{float(fact['volume_ml']):.2f}"
        told = (Text(str(word)), Text(predicted(quality)), Text(reasons))
        # Text, not markup: a label may be called "[1]".
        table.add_row(str(fact["value"]), Text(str(fact["name"])), volume, *told)
    # Away from a terminal there is no width to fit into; 80 columns would break words.
    console = Console() if sys.stdout.isatty() else Console(width=140)
    console.print(table)
