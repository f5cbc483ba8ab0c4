"""``atlassegfm register``: align one scan with another; write the warped scan, labels, transforms and measures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from atlassegfm.registration.options import QUALITIES
from atlassegfm.registration.registry import METHODS

#: Endings of the files whose names are known before anything is computed.
SUFFIXES = ("warped.nii.gz", "warped_labels.nii.gz", "jacobian.nii.gz", "register.json")


def register_command(
    fixed: Annotated[Path, typer.Option("--fixed", metavar="IMG", help="The scan that stays where it is.")],
    moving: Annotated[Path, typer.Option("--moving", metavar="IMG", help="The scan that is brought onto it.")],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", help="Folder for the results; made if missing.")],
    moving_labels: Annotated[
        Path | None,
        typer.Option(
            "--moving-labels", metavar="SEG", help="A label map, RTSTRUCT or DICOM segmentation along with it."
        ),
    ] = None,
    fixed_series: Annotated[
        str | None, typer.Option(metavar="N", help="DICOM series of the fixed scan: number in the list, or UID.")
    ] = None,
    moving_series: Annotated[str | None, typer.Option(metavar="N", help="DICOM series of the moving scan.")] = None,
    method: Annotated[str, typer.Option(help=f"Registration method: {', '.join(METHODS)}.")] = "default",
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Option of the method, such as iterations=200; may be given again."),
    ] = None,
    quality: Annotated[
        str | None, typer.Option(metavar="LEVEL", help=f"Work put in by our own method: {', '.join(QUALITIES)}.")
    ] = None,
    inverse_consistency: Annotated[
        bool, typer.Option("--inverse-consistency", help="Register the other way round too and measure the difference.")
    ] = False,
    jacobian: Annotated[bool, typer.Option("--jacobian", help="Write a map of the volume change.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same bytes.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="The report as JSON on stdout, nothing else there.")] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Log what is being done to stderr.")] = False,
) -> None:
    """Register two scans without segmenting anything.

    Writes MOVING_warped.nii.gz, MOVING_warped_labels.nii.gz (with --moving-labels), MOVING_register.json, the transform
    (MOVING.h5 for Slicer, one file per stage for ANTs), which maps points of the fixed scan to points of the moving
    one, as ITK programs expect, and its inverse (MOVING_inverse.h5 and so on).
    """
    from atlassegfm.cli_checks import check_choice, check_no_overwrite, check_readable, key_values, output_folder
    from atlassegfm.cli_display import StepProgress, say_warning, set_up_logging
    from atlassegfm.io import scan_name
    from atlassegfm.registration.options import read_options
    from atlassegfm.report.json_report import to_json
    from atlassegfm.runtime import prepare_compute, resolve_device

    set_up_logging(verbose)
    check_choice(method, METHODS, "--method")
    given = key_values(option, "--option") | ({} if quality is None else {"quality": quality})
    options = read_options(method, METHODS[method].options, given)
    inputs = {"fixed": fixed, "moving": moving} | ({} if moving_labels is None else {"moving_labels": moving_labels})
    for path in inputs.values():
        check_readable(path)
    name = scan_name(moving, moving_series, option="--moving-series")
    check_no_overwrite(inputs.values(), [out / f"{name}_{suffix}" for suffix in SUFFIXES])
    with output_folder(out):
        prepare_compute()
        parameters = {"method": method, "options": options, "seed": seed, "device": resolve_device(device)}
        with StepProgress(show=not as_json) as progress:
            run = _Run(inputs, {"fixed": fixed_series, "moving": moving_series}, parameters, progress)
            run.align(reverse=inverse_consistency)
            written, report = run.write(out, name, jacobian=jacobian)
        progress.report(name)
    for warning in report["warnings"]:
        say_warning(warning)
    if as_json:
        typer.echo(to_json(report).rstrip("\n"))
    else:
        typer.echo(f"{_summary(report['measures'])}\nwritten: {', '.join(map(str, written))}")


class _Run:
    """One call of the command: its files, what is done with them, and what that takes."""

    def __init__(
        self,
        inputs: dict[str, Path],
        series: dict[str, str | None],
        parameters: dict[str, Any],
        progress: Callable[[str, float], None],
    ) -> None:
        from atlassegfm.report.stages import StageMeter

        self.inputs, self.series, self.parameters = inputs, series, parameters
        self.meter = StageMeter(progress)

    def align(self, *, reverse: bool) -> None:
        """Read the scans and register them."""
        from atlassegfm.io import read_image, read_labels
        from atlassegfm.registration.focus import Focus
        from atlassegfm.registration.result import Settings
        from atlassegfm.report.registration import align

        self.meter("read", 0.0)
        fixed, moving = (
            read_image(self.inputs[role], series=self.series[role], option=f"--{role}-series")
            for role in ("fixed", "moving")
        )
        with_labels = "moving_labels" in self.inputs
        labels = read_labels(self.inputs["moving_labels"], image=moving) if with_labels else None
        given = {key: self.parameters[key] for key in ("seed", "device", "options")}
        focus = Focus.of(labels) if with_labels else None
        settings = Settings(**given, progress=self.meter, focus=focus)
        self.aligned = align(fixed, moving, labels, self.parameters["method"], settings, reverse=reverse)

    def write(self, out: Path, name: str, *, jacobian: bool) -> tuple[list[Path], dict[str, Any]]:
        """Write everything into a scratch folder, then publish it together; returns the files and the report."""
        from atlassegfm.cli_checks import check_no_overwrite
        from atlassegfm.report.json_report import source_facts, to_json
        from atlassegfm.report.outputs import publish, scratch_folder
        from atlassegfm.report.registration import build_report, write_files

        self.meter("write", 0.0)
        with scratch_folder(out) as scratch:
            drafts = write_files(scratch, name, self.aligned, jacobian=jacobian)
            self.meter.close()
            more = {"parameters": self.parameters, "timings": self.meter.stages}
            volumes = {"fixed": self.aligned.fixed, "moving": self.aligned.moving, "moving_labels": self.aligned.labels}
            inputs = {role: source_facts(path, volumes[role]) for role, path in self.inputs.items()}
            report = build_report(self.aligned, inputs, drafts, more)
            drafts.append(scratch / f"{name}_register.json")
            drafts[-1].write_text(to_json(report), encoding="utf-8", newline="\n")
            # The transforms' file names were not known when the rest was checked.
            check_no_overwrite(self.inputs.values(), [out / draft.name for draft in drafts])
            publish({draft: out / draft.name for draft in drafts})
        return [out / draft.name for draft in drafts], report


def _summary(measures: dict[str, Any]) -> str:
    """What a registration is worth, in one line."""
    return (
        f"similarity {measures['similarity_before']:.3f} before, {measures['similarity_affine']:.3f} affine, "
        f"{measures['similarity_after']:.3f} after; folding {measures['folding_percent']:.3f} %; "
        f"SD log J {measures['sd_log_jacobian']:.3f}; "
        f"inverse consistency {measures['inverse_error_mean_mm']:.3f} mm ({measures['inverse_from']})"
    )
