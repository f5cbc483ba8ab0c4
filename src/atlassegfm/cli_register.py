"""``atlassegfm register``: align one scan with another, write the warped scan, labels and transform."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from atlassegfm.registration.registry import METHODS

if TYPE_CHECKING:
    from atlassegfm.registration.result import RegistrationResult
    from atlassegfm.volume import Volume


def register_command(
    fixed: Annotated[Path, typer.Option("--fixed", metavar="IMG", help="The scan that stays where it is.")],
    moving: Annotated[Path, typer.Option("--moving", metavar="IMG", help="The scan that is brought onto it.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the results; made if missing.")],
    moving_labels: Annotated[
        Path | None, typer.Option("--moving-labels", metavar="SEG", help="A label map that goes along.")
    ] = None,
    method: Annotated[str, typer.Option(help=f"Registration method: {', '.join(METHODS)}.")] = "default",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON on stdout, nothing else there.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log what is being done to stderr.")] = False,
) -> None:
    """Register two scans without segmenting anything.

    Writes MOVING_warped.nii.gz, MOVING_warped_labels.nii.gz (with --moving-labels), MOVING_register.json and the
    transform (MOVING.h5 for Slicer, one file per stage for ANTs), which maps points of the fixed scan to points of the
    moving one, as ITK programs expect.
    """
    from atlassegfm.cli_checks import check_choice, check_no_overwrite, check_readable, output_folder
    from atlassegfm.cli_display import StepProgress, say_warning, set_up_logging
    from atlassegfm.io import read_image, read_labels, stem
    from atlassegfm.runtime import prepare_compute

    set_up_logging(verbose)
    check_choice(method, METHODS, "--method")
    inputs = {"fixed": fixed, "moving": moving}
    if moving_labels is not None:
        inputs["moving_labels"] = moving_labels
    for path in inputs.values():
        check_readable(path)
    name = stem(moving)
    suffixes = ("warped.nii.gz", "warped_labels.nii.gz", "register.json")
    check_no_overwrite(inputs.values(), [out / f"{name}_{suffix}" for suffix in suffixes])
    with output_folder(out):
        prepare_compute()
        with StepProgress(show=not as_json) as progress:
            progress("read", 0.0)
            still, image = read_image(fixed), read_image(moving)
            labels = None if moving_labels is None else read_labels(moving_labels)
            from atlassegfm.registration.registry import register
            from atlassegfm.registration.result import Settings

            result = register(still, image, method, Settings(seed=seed, progress=progress))
            progress("write", 0.0)
            written, text = _write(out, name, inputs, still, image, labels, result, {"method": method, "seed": seed})
        progress.report(name)
    for warning in result.warnings:
        say_warning(warning)
    typer.echo(text.rstrip("\n") if as_json else "written: " + ", ".join(map(str, written)))


def _write(
    out: Path,
    name: str,
    inputs: dict[str, Path],
    fixed: Volume,
    moving: Volume,
    labels: Volume | None,
    result: RegistrationResult,
    parameters: dict[str, str | int],
) -> tuple[list[Path], str]:
    """Write everything into a scratch folder, then publish it together; returns the targets and the report's text."""
    from atlassegfm.cli_checks import check_no_overwrite
    from atlassegfm.io import file_sha256, write_image, write_labels
    from atlassegfm.registration.files import write_transform
    from atlassegfm.report.json_report import to_json, versions
    from atlassegfm.report.outputs import publish, scratch_folder
    from atlassegfm.resampling import resample_image, resample_labels

    with scratch_folder(out) as scratch:
        drafts = [scratch / f"{name}_warped.nii.gz"]
        write_image(drafts[0], resample_image(moving, fixed.grid, result.transform), like=fixed)
        if labels is not None:
            drafts.append(scratch / f"{name}_warped_labels.nii.gz")
            warped = resample_labels(labels, fixed.grid, result.transform)
            write_labels(drafts[-1], warped, fixed, labels.meta.get("label_names"))
        drafts += write_transform(result.transform, scratch, name, domain=fixed.grid)
        report = {
            "program": "atlassegfm",
            "inputs": {role: {"file": path.name, "sha256": file_sha256(path)} for role, path in inputs.items()},
            "outputs": {path.name: file_sha256(path) for path in drafts},
            "parameters": parameters,
            "metrics": result.metrics,
            "warnings": result.warnings,
            "timings": result.seconds,
            "versions": versions(),
        }
        drafts.append(scratch / f"{name}_register.json")
        drafts[-1].write_text(to_json(report), encoding="utf-8", newline="\n")
        # The transform's file names were not known when the rest was checked.
        check_no_overwrite(inputs.values(), [out / draft.name for draft in drafts])
        publish({draft: out / draft.name for draft in drafts})
    return [out / draft.name for draft in drafts], to_json(report)
