"""The files of one query: segmentation, QC picture, JSON report. All of them appear, or none."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlassegfm.errors import InputError
from atlassegfm.report.formats import FORMATS, write_mask, write_segmentation
from atlassegfm.report.json_report import build_report, to_json
from atlassegfm.report.masks import mask_names
from atlassegfm.volume import Volume

if TYPE_CHECKING:
    from atlassegfm.segmentation import Segmentation


@dataclass(frozen=True)
class Outputs:
    """Where the result of one query goes.

    Parameters
    ----------
    segmentations : dict of str to Path
        The segmentation, by format.
    qc, report : Path
        Picture and report.
    names : Path or None
        Table of label values, names and colours, where a layout has one.
    masks : dict of int to Path
        By label value the files of those that overlap; before the labels are known, those that lie there already.
    """

    segmentations: dict[str, Path]
    qc: Path
    report: Path
    names: Path | None = None
    masks: dict[int, Path] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        out_dir: str | Path,
        stem: str,
        formats: Sequence[str] = ("nifti",),
        labels: Mapping[int, str] | None = None,
    ) -> Outputs:
        """The output names for a query called `stem` (file name without suffix) and labels of these names."""
        folder = Path(out_dir)
        made, masks = {}, {}
        for name in formats:
            ending = FORMATS[name].ending
            if not FORMATS[name].per_label:
                made[name] = folder / f"{stem}{ending}"
            elif labels is None:
                masks = dict(enumerate(sorted(folder.glob(escape(stem) + ending.format(label="*")))))
            else:
                masks = {v: folder / f"{stem}{ending.format(label=n)}" for v, n in mask_names(labels).items()}
        return cls(made, folder / f"{stem}_qc.png", folder / f"{stem}_report.json", masks=masks)

    @property
    def segmentation(self) -> Path:
        """The segmentation in the first of its formats."""
        return next(iter(self.segmentations.values()))

    def items(self) -> dict[str, Path]:
        """Role to path."""
        made = {FORMATS[name].role: path for name, path in self.segmentations.items()}
        made |= {f"{FORMATS['masks'].role}_{value}": path for value, path in self.masks.items()}
        named = {} if self.names is None else {"names": self.names}
        return {**made, **named, "qc": self.qc, "report": self.report}


class Layout:
    """How the files of a query are called and what is written beside the images: all in one folder, a JSON report."""

    def outputs(
        self, folder: Path, stem: str, formats: Sequence[str], labels: Mapping[int, str] | None = None
    ) -> Outputs:
        """Where the results of a query called `stem` go; `labels` are their names, once they are known."""
        return Outputs.of(folder, stem, formats, labels)

    def texts(self, outputs: Outputs, report: dict[str, Any], segmentation: Segmentation) -> dict[Path, str]:
        """Text files by path, the report among them.

        Parameters
        ----------
        outputs : Outputs
            Names as `outputs` gave them.
        report : dict
            Of `build_report`.
        segmentation : Segmentation
            For names and colours of labels.
        """
        del segmentation
        return {outputs.report: to_json(report)}


def write_outputs(
    out_dir: str | Path,
    stem: str,
    query: Volume,
    segmentation: Segmentation,
    inputs: Mapping[str, Path | Mapping[str, str]],
    formats: Sequence[str] = ("nifti",),
    *,
    scratch_parent: Path | None = None,
    layout: Layout | None = None,
) -> Outputs:
    """Write the segmentation, the QC picture and the report of one query.

    Everything is written into a temporary folder beside the targets and renamed at the end, so that a failure leaves
    neither half-written files nor an incomplete set. Older outputs of the same names are replaced.

    Parameters
    ----------
    out_dir : str or Path
        An existing folder.
    stem : str
        Name of the query.
    query : Volume
        The image as it was read; its file's geometry goes into the label map.
    segmentation : Segmentation
        What to write.
    inputs : mapping of str to Path or mapping
        Role ("query", "atlas_image", "atlas_labels") to file, or to what is known of it, for the report.
    formats : sequence of str
        Keys of `formats.FORMATS`.
    scratch_parent : Path, optional
        Where the temporary folder is made, on the same disk; by default in `out_dir`.
    layout : Layout, optional
        How files are called; by default all lie in `out_dir`.

    Raises
    ------
    InputError
        If the folder cannot be written to or the disk is full.
    """
    # The picture pulls in matplotlib; whoever only asks for the names does without it.
    from atlassegfm.report.qc import qc_picture

    layout = layout or Layout()
    targets = layout.outputs(Path(out_dir), stem, formats, segmentation.names)
    with scratch_folder(scratch_parent or Path(out_dir)) as scratch:
        drafts = layout.outputs(scratch, stem, formats, segmentation.names)
        try:
            for path in (*drafts.items().values(), *targets.items().values()):
                path.parent.mkdir(parents=True, exist_ok=True)
            for name, path in drafts.segmentations.items():
                write_segmentation(name, path, query, segmentation)
            for value, path in drafts.masks.items():
                write_mask(path, value, query, segmentation)
            qc_picture(drafts.qc, query, segmentation, name=stem)
            made = {role: path for role, path in drafts.items().items() if role not in ("report", "names")}
            report = build_report(segmentation, inputs, made)
            for path, text in layout.texts(drafts, report, segmentation).items():
                path.write_text(text, encoding="utf-8", newline="\n")
            publish({drafts.items()[role]: target for role, target in targets.items().items()})
        except OSError as error:
            raise InputError(
                f"{out_dir}: the results of {stem} cannot be written ({error.strerror or error}); check the folder's "
                "permissions and free space"
            ) from error
    return targets


@contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """A hidden folder in `parent` that is gone afterwards, whatever happens."""
    try:
        path = Path(tempfile.mkdtemp(prefix=".atlassegfm-", dir=parent))
    except OSError as error:
        raise InputError(
            f"{parent}: cannot be written to ({error.strerror or error}); choose another folder with -o"
        ) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def publish(moves: Mapping[Path, Path]) -> None:
    """Rename every draft (key) to its target (value); if one rename fails, take back those done."""
    done: list[Path] = []
    try:
        for draft, target in moves.items():
            os.replace(draft, target)
            done.append(target)
    except OSError:
        for target in done:
            target.unlink(missing_ok=True)
        raise
