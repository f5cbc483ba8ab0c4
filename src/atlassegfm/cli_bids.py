"""``atlassegfm bids``: a BIDS App. The images of a BIDS dataset as a cohort, the results as BIDS derivatives."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from atlassegfm.cli_read import read_command
from atlassegfm.cli_segment import segment_command
from atlassegfm.errors import InputError

LEVELS = ("participant", "group")
#: Options that take several words, as those of BIDS Apps do.
SEVERAL = ("--participant-label", "--session-label")
#: What `segment` takes and this does not.
_NOT_HERE = ("queries", "out", "series", "formats", "overlapping", "uncertainty")


class BidsCommand(TyperCommand):
    """Lets labels follow each other (``--participant-label 01 02``); takes these options with underscores too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - click's context
        """Repeat the option before each of its words; those before the three arguments take one word."""
        found: list[str] = []
        option, words = "", 0
        for word in args:
            if word.startswith("-"):
                plain = word.replace("_", "-")
                option, words = (plain, 0) if plain in SEVERAL else ("", 0)
                found.append(option or word)
                continue
            if option and words:
                found.append(option)
            words += 1
            found.append(word)
        return super().parse_args(ctx, found)


def bids_command(
    ctx: typer.Context,
    bids_dir: Annotated[Path, typer.Argument(metavar="BIDS_DIR", help="Top of a BIDS dataset.")],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder for the derivatives, such as BIDS_DIR/derivatives/atlassegfm.")
    ],
    level: Annotated[
        str, typer.Argument(metavar="LEVEL", help="participant: segment; group: sum up what all participants have.")
    ],
    participant_label: Annotated[
        list[str] | None,
        typer.Option(metavar="LABEL...", help="Only these participants, with or without sub-; all if not given."),
    ] = None,
    session_label: Annotated[
        list[str] | None, typer.Option(metavar="LABEL...", help="Only these sessions, with or without ses-.")
    ] = None,
    datatype: Annotated[str, typer.Option(metavar="NAME", help="Folder of the images.")] = "anat",
    suffix: Annotated[
        str | None, typer.Option(metavar="NAME", help="Kind of image, such as T1w; needed when there are several.")
    ] = None,
    entity: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Only images with this in their names, such as acq=mprage."),
    ] = None,
    atlas: Annotated[list[Path] | None, typer.Option(metavar="IMG", help="The labelled scan; see segment.")] = None,
    labels: Annotated[
        list[Path] | None, typer.Option(metavar="SEG", help="Its label map, RTSTRUCT or DICOM segmentation.")
    ] = None,
    **given: Any,  # noqa: ANN401 - the other options of `segment`
) -> None:
    """Segment the images of a BIDS dataset from one labelled scan; a BIDS App.

    Writes a BIDS derivative dataset: sub-LABEL/anat/..._space-orig_desc-atlassegfm_dseg.nii.gz with its
    sidecar and label table, pictures in figures/, and index.html, summary.csv and cohort.json at its top. Runs with one
    --participant-label each may work at the same time in one OUT; the level group then sums all of them up.
    """
    from atlassegfm.cli_checks import check_choice, key_values

    check_choice(level, LEVELS, "LEVEL")
    from atlassegfm.cohort.bids import Wanted, read_description
    from atlassegfm.cohort.bids_out import check_derivatives

    read_description(bids_dir)
    check_derivatives(bids_dir, out)
    if level == "group":
        from atlassegfm.cli_cohort import sum_up

        sum_up(out, as_json=given["as_json"])
        return
    if not atlas:
        raise InputError("--atlas: expected a file, got none; the level participant needs it and its --labels")
    participants = tuple(participant_label or ())
    wanted = Wanted(participants, tuple(session_label or ()), datatype, suffix, key_values(entity, "--entity"))
    _segment(ctx, bids_dir, out, wanted, {**given, "atlas": atlas, "labels": labels})


def _segment(ctx: typer.Context, bids_dir: Path, out: Path, wanted: Any, given: dict[str, Any]) -> None:  # noqa: ANN401
    from atlassegfm.cli_checks import check_readable, output_folder
    from atlassegfm.cli_cohort import run_and_tell
    from atlassegfm.cohort.bids import find_bids
    from atlassegfm.cohort.bids_out import BidsLayout, write_description
    from atlassegfm.cohort.settings import CohortSettings

    settings, work = read_command(ctx, {**given, "formats": "nifti", "overlapping": False, "uncertainty": False})
    layout = BidsLayout(datatype=wanted.datatype)
    cohort = CohortSettings(**settings, layout=layout)
    files = [path for pair in cohort.atlases for path in pair]
    for path in files:
        check_readable(path)
    queries = find_bids(bids_dir, wanted, leave_out=files)
    if len(wanted.participants) == 1:
        # As schedulers of clusters start BIDS Apps: a job for each participant, all with one OUT.
        work["part"] = f"sub-{wanted.participants[0].removeprefix('sub-')}"
    with output_folder(out):
        write_description(bids_dir, out)
        run_and_tell(queries, cohort, out, work, as_json=given["as_json"])


def with_options_of(function: Callable[..., None], other: Callable[..., None]) -> Callable[..., None]:
    """The function with those parameters of the other one that it does not have, in place of its ``**given``."""
    own = inspect.signature(function, eval_str=True).parameters
    theirs = inspect.signature(other, eval_str=True).parameters
    kept = [p for p in own.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    more = [p for name, p in theirs.items() if name not in own and name not in _NOT_HERE]

    def command(**given: Any) -> None:  # noqa: ANN401
        function(**given)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*kept, *more)]
    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__doc__, command.__annotations__ = function.__doc__, {}
    return command


bids_app = with_options_of(bids_command, segment_command)
