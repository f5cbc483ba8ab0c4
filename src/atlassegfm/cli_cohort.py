"""``atlassegfm segment`` on a cohort: plan, run in workers, show how it goes, tell what came out."""

from __future__ import annotations

import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import typer

from atlassegfm.cli_display import counting_bar, say_error, say_warning

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from atlassegfm.cohort.engine_choice import DaskChoice
    from atlassegfm.cohort.queries import Query
    from atlassegfm.cohort.records import CaseRecord
    from atlassegfm.cohort.runner import Cohort
    from atlassegfm.cohort.settings import CohortSettings

#: Exit codes, as in `cli_segment`.
BAD_INPUT, SOME_FAILED, INTERRUPTED = 2, 3, 130


class CohortProgress:
    """On a terminal a bar for the cohort and a line per running case; elsewhere one line per finished case."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._total, self._done, self._before, self._begun = quiet, 0, 0, 0, 0.0
        self._words: Counter[str] = Counter()
        self._bar: Progress | None = None
        self._all: TaskID | None = None
        self._lines: dict[str, TaskID] = {}

    def __enter__(self) -> CohortProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def planned(self, total: int, done: Sequence[CaseRecord], stale: bool) -> None:
        """Show how much there is to do."""
        if stale:
            say_warning("an earlier run here was killed; going on from what it had finished")
        self._total, self._done, self._before = total, len(done), len(done)
        self._begun = time.monotonic()
        self._words.update(map(_word, done))
        if self._quiet:
            return
        if sys.stderr.isatty():
            self._bar = counting_bar(transient=True)
            self._bar.start()
            self._all = self._bar.add_task(self._counts(), total=total, completed=self._done)
        elif done:
            typer.echo(f"event=resumed done={self._done} total={total}", err=True)

    def warned(self, text: str) -> None:
        """Say what the user should know now."""
        if self._bar is not None:
            self._bar.console.print(f"warning: {text}", markup=False, highlight=False)
        else:
            say_warning(text)

    def step(self, name: str, step: str) -> None:
        """Show what is being done with a case."""
        if self._bar is not None:
            if name not in self._lines:
                self._lines[name] = self._bar.add_task(name, total=None)
            self._bar.update(self._lines[name], description=f"  {name}: {step}")

    def ended(self, record: CaseRecord) -> None:
        """Show that a case is done or failed."""
        self._done += 1
        word = _word(record)
        self._words[word] += 1
        if self._bar is not None:
            line = self._lines.pop(record.name, None)
            if line is not None:
                self._bar.remove_task(line)
            self._bar.update(self._all, completed=self._done, description=self._counts())
            if record.error:
                self._bar.console.print(f"failed: {record.name}: {record.error}", markup=False, highlight=False)
        elif not self._quiet:
            facts = {"done": self._done, "total": self._total, "name": record.name, "quality": word}
            facts |= {"seconds": f"{record.seconds:.1f}", "left": f"{self._left():.0f}"}
            facts |= {"error": record.error} if record.error else {}
            typer.echo(" ".join(f"{key}={shlex.quote(str(value))}" for key, value in facts.items()), err=True)

    def _left(self) -> float:
        """Seconds that the rest takes if it goes on as until now."""
        spent = time.monotonic() - self._begun
        return spent / max(1, self._done - self._before) * (self._total - self._done)

    def _counts(self) -> str:
        return ", ".join(f"{self._words[word]} {word}" for word in ("good", "check", "do not use", "failed"))


def _word(record: CaseRecord) -> str:
    """The word of a case while the rest of its cohort, and with it what stands out, is not known yet."""
    from atlassegfm.cohort.summary import CaseSummary

    return CaseSummary(record, {}).word


def has_cohort(paths: Sequence[Path], series: str | None) -> bool:
    """Whether one of the paths stands for several scans."""
    from atlassegfm.cohort.queries import is_cohort

    return any(is_cohort(path, series) for path in paths)


def segment_cohort(
    paths: Sequence[Path],
    out: Path,
    settings: dict[str, Any],
    work: dict[str, Any],
    *,
    series: str | None,
    as_json: bool,
) -> None:
    """Find the queries, run them, print what came out, set the exit code.

    Parameters
    ----------
    paths : sequence of Path
        As given on the command line.
    out : Path
        Folder for the results.
    settings, work : dict
        As `cli_read.read_command` gives them; the number of jobs is text.
    series : str, optional
        Of every DICOM query.
    as_json : bool
        Print ``cohort.json`` and nothing else.
    """
    from atlassegfm.cli_checks import check_readable
    from atlassegfm.cohort.queries import find_queries
    from atlassegfm.cohort.settings import CohortSettings

    given = CohortSettings(**settings)
    files = [path for pair in given.atlases for path in pair]
    for path in files:
        check_readable(path)
    queries = find_queries(paths, series=series, leave_out=[*files, out])
    run_and_tell(queries, given, out, work, as_json=as_json)


def run_and_tell(
    queries: list[Query], settings: CohortSettings, out: Path, work: dict[str, Any], *, as_json: bool
) -> None:
    """Run a cohort, print what came out, set the exit code; parameters as for `segment_cohort`."""
    from atlassegfm.cli_checks import check_no_overwrite, output_folder
    from atlassegfm.cohort.memory import read_jobs
    from atlassegfm.runtime import prepare_compute

    jobs = read_jobs(work["jobs"])

    inputs = {path for query in queries for path in (query.path, *chain(*settings.atlases_of(query)))}
    outputs = [settings.layout.outputs(out, query.name, settings.formats) for query in queries]
    check_no_overwrite(sorted(inputs), [path for made in outputs for path in made.items().values()])
    start = time.perf_counter()
    with output_folder(out):
        prepare_compute()
        voxels, *others = _check_atlases(settings)
        device = _device(settings.options["device"], work.get("dask"))

        from atlassegfm.cohort.memory import auto_jobs
        from atlassegfm.cohort.runner import Work, run_cohort

        jobs = jobs or auto_jobs(voxels, len(queries), device, further=sum(others))
        settings = replace(settings, options={**settings.options, "device": device})
        with CohortProgress(quiet=as_json) as progress:
            cohort = run_cohort(queries, settings, out, Work(**{**work, "jobs": jobs}), progress)
    _finish(cohort, time.perf_counter() - start, as_json=as_json)


def _check_atlases(settings: CohortSettings) -> list[int]:
    """Read the cohort's atlases once to see that they can be used; their voxels, the largest first."""
    from atlassegfm.atlases.loading import load_atlases
    from atlassegfm.cli_display import say_notices

    atlases = load_atlases(settings.atlases, **settings.choices)
    say_notices(atlases)
    return sorted((atlas.image.data.size for atlas in atlases), reverse=True)


def _device(wanted: str, dask: DaskChoice | None) -> str:
    """The device that "auto" stands for: the same for all workers, so that it is known when results are the same."""
    from atlassegfm.runtime import resolve_device

    if dask is None or not dask.elsewhere:
        return resolve_device(wanted)
    # Nobody knows what workers have that are not there yet.
    return "cpu" if wanted == "auto" else wanted


def sum_up(out: Path, *, as_json: bool) -> None:
    """Write the summaries of everything that is recorded in a folder, and print what there is.

    Raises
    ------
    InputError
        If nothing is recorded there.
    """
    from atlassegfm.cohort.records import read_records
    from atlassegfm.cohort.runner import STATE, Cohort
    from atlassegfm.cohort.summary import write_summaries
    from atlassegfm.errors import InputError

    start = time.perf_counter()
    records = read_records(out / STATE / "records")
    if not records:
        raise InputError(f"{out}: no results in it; run the level participant first, with the same folder")
    cohort = Cohort(out, [], records, resumed=len(records), running=False)
    write_summaries(cohort, None)
    _finish(cohort, time.perf_counter() - start, as_json=as_json)


def _finish(cohort: Cohort, seconds: float, *, as_json: bool) -> None:
    from atlassegfm.cohort.summary import FAILED, counts, summarise

    cases = summarise(cohort)
    if cohort.part:
        # Others are doing theirs.
        mine = {query.name for query in cohort.queries}
        cases = [case for case in cases if case.record.name in mine]
    total = len(cohort.queries) if cohort.part else cohort.total
    if as_json:
        typer.echo((cohort.folder / "cohort.json").read_text(encoding="utf-8"), nl=False)
    else:
        found = ", ".join(f"{count} {word}" for word, count in counts(cases).items())
        again = f"; {cohort.resumed} from before" if cohort.resumed else ""
        typer.echo(f"{len(cases)} of {total} scans in {seconds:.0f} s: {found}{again}")
        typer.echo(f"look at: {cohort.folder / 'index.html'} (also summary.csv, cohort.json)")
    failed = [case.record for case in cases if case.word == FAILED]
    if failed:
        typer.echo(f"{len(failed)} of {total} queries failed (--retry-failed tries again):", err=True)
        for record in failed:
            typer.echo(f"  {record.name}: {record.error}", err=True)
    if cohort.interrupted:
        say_error("interrupted; the same command goes on from here")
        raise typer.Exit(INTERRUPTED)
    if failed:
        raise typer.Exit(BAD_INPUT if len(failed) == total else SOME_FAILED)
