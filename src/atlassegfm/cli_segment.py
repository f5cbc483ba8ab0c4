"""``atlassegfm segment``: check, load the atlas once, segment each query, tell what came out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atlassegfm.asked import PROMPTS
from atlassegfm.atlases import LABEL_FUSIONS, MOST_ATLASES
from atlassegfm.atlases.files import Files
from atlassegfm.cli_cohort import has_cohort, segment_cohort
from atlassegfm.cli_read import read_command, was_given
from atlassegfm.cohort.engine_choice import CLUSTERS, ENGINES
from atlassegfm.fusion import FUSIONS
from atlassegfm.models.registry import MODELS
from atlassegfm.presets import PRESETS
from atlassegfm.registration.options import QUALITIES
from atlassegfm.registration.registry import METHODS
from atlassegfm.report.formats import FORMATS

if TYPE_CHECKING:
    from atlassegfm.atlas import Atlas
    from atlassegfm.cli_checks import Job
    from atlassegfm.report.outputs import Outputs
    from atlassegfm.segmentation import Segmentation

#: Those that make a cohort of any queries.
COHORT_OPTIONS = ("jobs", "timeout", "retry_failed", "engine", "dask_address", "dask_cluster")
#: Exit codes.
BAD_INPUT, SOME_FAILED = 2, 3


def segment_command(
    ctx: typer.Context,
    queries: Annotated[
        list[Path],
        typer.Argument(
            metavar="QUERY...",
            help="Scans to segment: image files, DICOM folders or ZIPs; for cohorts also folders of those, globs in "
            "quotes, or a CSV table.",
        ),
    ],
    atlas: Annotated[
        list[Path],
        typer.Option(
            "--atlas",
            metavar="IMG",
            help="The labelled scan; given again, or a folder with images/ and labels/: several, which vote.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the results; made if missing.")],
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            "--labels",
            metavar="SEG",
            help="Its label map, RTSTRUCT or DICOM segmentation; one for each --atlas, none for a folder.",
        ),
    ] = None,
    most_atlases: Annotated[
        int, typer.Option(min=1, metavar="N", help="Of several atlases use those N that look most like the query.")
    ] = MOST_ATLASES,
    label_fusion: Annotated[
        str, typer.Option(metavar="NAME", help=f"How several atlases vote: {', '.join(LABEL_FUSIONS)}.")
    ] = LABEL_FUSIONS[0],
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Model, prompt, registration and fusion under one name; those given beside it come first: "
            f"{', '.join(PRESETS)}.",
        ),
    ] = "default",
    model: Annotated[
        str, typer.Option(help=f"Segmentation model: {', '.join(MODELS)}. none: registration alone.")
    ] = "builtin",
    model_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Option of the model, such as axis=axial; may be given again."),
    ] = None,
    no_customise: Annotated[
        bool, typer.Option("--no-customise", help="Use the built-in network as it was shipped.")
    ] = False,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="File or folder of the model's weights, in place of those downloaded."),
    ] = None,
    weights_sha256: Annotated[
        str | None,
        typer.Option("--weights-sha256", metavar="HASH", help="What the SHA-256 of the weights has to be."),
    ] = None,
    prompt: Annotated[str, typer.Option(help=f"What the model is given: {', '.join(PROMPTS)}.")] = "auto",
    registration: Annotated[str, typer.Option(help=f"Registration method: {', '.join(METHODS)}.")] = "default",
    registration_option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="Option of the registration method, such as iterations=200; may be given again."
        ),
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help=f"Work put in by our own registration: {', '.join(QUALITIES)}."),
    ] = None,
    fusion: Annotated[
        str, typer.Option(help=f"How atlas and model are brought together: {', '.join(FUSIONS)}.")
    ] = "kalman",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="CPU threads; by default the cores that there are.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    label_names: Annotated[
        str | None,
        typer.Option(
            metavar="NAMES", help="dataset.json, Slicer .ctbl, ITK-SNAP label file, or text like 1=liver,2=spleen."
        ),
    ] = None,
    only: Annotated[str | None, typer.Option(metavar="VALUES", help="Only these labels, such as 1,2,6.")] = None,
    rois: Annotated[
        str | None, typer.Option(metavar="NAMES", help="Only the labels of these names, such as Kidney_L,Kidney_R.")
    ] = None,
    series: Annotated[
        str | None, typer.Option(metavar="N", help="DICOM series of the queries: number in the list, or UID.")
    ] = None,
    atlas_series: Annotated[str | None, typer.Option(metavar="N", help="DICOM series of the atlas.")] = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="LIST", help=f"What to write: {', '.join(FORMATS)}.")
    ] = "nifti",
    overlapping: Annotated[
        bool, typer.Option("--overlapping", help="One mask per label, each decided by itself, in place of a label map.")
    ] = False,
    uncertainty: Annotated[
        bool, typer.Option("--uncertainty", help="Also write how probably each voxel's label is wrong.")
    ] = False,
    jobs: Annotated[str, typer.Option(metavar="N", help="Cohorts: scans side by side; auto: as many as fit.")] = "auto",
    timeout: Annotated[
        float | None, typer.Option(min=1.0, metavar="SECONDS", help="Cohorts: what one scan may take at the most.")
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Cohorts: try those again that failed before.")
    ] = False,
    engine: Annotated[
        str, typer.Option(help=f"Cohorts: who does the work, {' or '.join(ENGINES)} (processes of this machine).")
    ] = "local",
    dask_address: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask: a scheduler that is there, such as tcp://host:8786.")
    ] = None,
    dask_cluster: Annotated[
        str | None, typer.Option(metavar="KIND", help=f"Dask: start workers on this: {', '.join(CLUSTERS)}.")
    ] = None,
    dask_option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Dask: option of that cluster, such as queue=gpu; may be given again."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON on stdout, nothing else there: a list, of a cohort its cohort.json.")
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log what is being done to stderr.")] = False,
) -> None:
    """Segment scans from one labelled scan.

    Writes QUERY_seg.nii.gz, QUERY_qc.png and QUERY_report.json into the output folder for every query (with --format
    others in place of the first). Folders of scans, globs and tables are cohorts, as is anything with --jobs,
    --timeout, --retry-failed or --engine: each query in a process of its own, resumed when repeated, summed up in
    index.html. Exit code: 0 all done; 2 bad input, or no query could be segmented; 3 some of several queries failed.
    """
    settings, work = read_command(ctx, dict(locals()))
    if any(was_given(ctx, key) for key in COHORT_OPTIONS) or has_cohort(queries, series):
        segment_cohort(queries, out, settings, work, series=series, as_json=as_json)
        return
    from atlassegfm import cli_checks
    from atlassegfm.runtime import limit_threads, prepare_compute

    limit_threads(threads)
    wanted, options = list(settings["formats"]), settings["options"]
    files = ((settings["atlas"], settings["labels"]), *settings["more_atlases"])
    planned = cli_checks.plan_jobs(queries, out, chain(*files), series=series, formats=wanted)
    with cli_checks.output_folder(out):
        prepare_compute()
        run = _Run(files, options, series, wanted, quiet=as_json)
        run.load_atlases(**settings["choices"])
        results = [run.segment(job) for job in planned]
    _finish(results, as_json)


class _Run:
    """One call of the command: the atlas, the options, and what is shown."""

    def __init__(
        self,
        files: Sequence[Files],
        options: dict[str, Any],
        series: str | None,
        formats: list[str],
        *,
        quiet: bool,
    ) -> None:
        self.files = files
        self.options = options
        self.series, self.formats = series, formats
        self.quiet = quiet
        self.atlases: list[Atlas] = []

    def load_atlases(self, **choices: Any) -> None:  # noqa: ANN401 - those of `Atlas.load`
        from atlassegfm.atlases.loading import load_atlases
        from atlassegfm.cli_display import say_notices

        self.atlases = load_atlases(self.files, **choices)
        say_notices(self.atlases)

    def segment(self, job: Job) -> dict[str, Any]:
        """Segment one query; what goes wrong with it is told and returned, so that the others still get their turn."""
        from atlassegfm.cli_display import say_error
        from atlassegfm.errors import AtlasSegError

        try:
            segmentation, outputs, seconds = self._work(job)
        except (AtlasSegError, OSError, MemoryError) as error:
            message = one_line(error)
            say_error(message if str(job.query) in message else f"{job.query}: {message}")
            return {"query": str(job.query), "status": "failed", "error": message}
        return self._tell(job, segmentation, outputs, seconds)

    def _work(self, job: Job) -> tuple[Segmentation, Outputs, float]:
        from atlassegfm.cli_display import StepProgress
        from atlassegfm.io import read_image

        with StepProgress(show=not self.quiet) as progress:
            progress("read", 0.0)
            query = read_image(job.query, series=self.series)
            # Imported late: a bad file is told about before torch is loaded.
            from atlassegfm.pipeline import segment
            from atlassegfm.report.json_report import atlas_sources, source_facts
            from atlassegfm.report.outputs import write_outputs

            segmentation = segment(self.atlases, query, progress=progress, **self.options)
            progress("write", 0.0)
            inputs = {
                "query": source_facts(job.query, query),
                **atlas_sources(self.files, self.atlases),
            }
            folder = job.outputs.report.parent
            outputs = write_outputs(folder, job.stem, query, segmentation, inputs, self.formats)
        progress.report(job.stem)
        return segmentation, outputs, sum(progress.seconds.values())

    def _tell(self, job: Job, segmentation: Segmentation, outputs: Outputs, seconds: float) -> dict[str, Any]:
        from atlassegfm.cli_checks import as_given
        from atlassegfm.cli_display import print_result, say_warning
        from atlassegfm.report.facts import label_facts

        for warning in segmentation.warnings:
            say_warning(f"{job.stem}: {warning}")
        if not self.quiet:
            print_result(job.stem, segmentation)
            typer.echo("written: " + ", ".join(as_given(outputs.items()).values()))
        return {
            "query": str(job.query),
            "status": "done",
            "seconds": round(seconds, 2),
            "outputs": as_given(outputs.items()),
            "labels": label_facts(segmentation),
            "warnings": list(segmentation.warnings),
        }


def one_line(error: BaseException) -> str:
    """An error as one line for the user."""
    if isinstance(error, MemoryError):
        return "not enough memory; close other programs, or crop or downsample the scan"
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}; check permissions and free space"
    return " ".join(str(error).split()) or type(error).__name__


def _finish(results: list[dict[str, Any]], as_json: bool) -> None:
    """Print the JSON list, sum up the failures, set the exit code."""
    from atlassegfm.report.json_report import plain

    if as_json:
        typer.echo(json.dumps(plain(results), indent=2, allow_nan=False))
    failed = [result for result in results if result["status"] == "failed"]
    if failed and len(results) > 1:
        typer.echo(f"{len(failed)} of {len(results)} queries failed:", err=True)
        for result in failed:
            typer.echo(f"  {result['query']}", err=True)
    if failed:
        raise typer.Exit(BAD_INPUT if len(failed) == len(results) else SOME_FAILED)
