"""Results as a BIDS derivative dataset: names, sidecars, label tables, and what describes the dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlassegfm.cohort.bids import DESCRIPTION, BidsName, read_description
from atlassegfm.errors import InputError
from atlassegfm.io import write_text_atomic
from atlassegfm.report.json_report import to_json
from atlassegfm.report.outputs import Layout, Outputs

if TYPE_CHECKING:
    from atlassegfm.segmentation import Segmentation

PROGRAM = "AtlasSegFM"
#: Of the specification that the names follow.
BIDS_VERSION = "1.10.0"
#: What a BIDS validator is not to look at.
IGNORED = (".cohort/", "figures", "index.html", "summary.csv", "cohort.json")
README = """AtlasSegFM carried the labels of one labelled scan (the atlas) to the images of the raw dataset.
Segmentations are made by a program; index.html and summary.csv say which of them to check first.
The sidecar of each segmentation holds parameters, versions, quality and warnings.
"""


@dataclass(frozen=True)
class BidsLayout(Layout):
    """Files called and placed as BIDS derivatives.

    Parameters
    ----------
    datatype : str
        Folder within subject or session, as of the raw images.
    """

    datatype: str = "anat"

    def outputs(
        self, folder: Path, stem: str, formats: Sequence[str], labels: Mapping[int, str] | None = None
    ) -> Outputs:
        """Where the results of an image go; `stem` is its BIDS name, and those of the labels have no say.

        Raises
        ------
        InputError
            If the name is not one of BIDS, or a format is not one that BIDS knows for segmentations.
        """
        del labels
        name = BidsName.read(stem)
        if name is None or list(formats) != ["nifti"]:
            raise InputError(f"{stem}: expected a BIDS name and NIfTI as format, got {', '.join(formats)}")
        kept = "_".join(f"{key}-{value}" for key, value in name.entities if key not in ("space", "desc"))
        place = folder / name.place / self.datatype
        base = f"{kept}_space-orig_desc-atlassegfm"
        return Outputs(
            {"nifti": place / f"{base}_dseg.nii.gz"},
            folder / f"sub-{name['sub']}" / "figures" / f"{kept}_desc-atlassegfm_qc.png",
            place / f"{base}_dseg.json",
            place / f"{base}_dseg.tsv",
        )

    def texts(self, outputs: Outputs, report: dict[str, Any], segmentation: Segmentation) -> dict[Path, str]:
        """Sidecar and label table (BIDS 1.10, Imaging data type derivatives: segmentations)."""
        source = BidsName.read(outputs.report.name.partition("_space-orig")[0] + "_x")
        place = (source.place / self.datatype).as_posix()
        sidecar = {
            "Description": "Labels of one labelled scan, carried to this image by registration and a model",
            "Manual": False,
            "Sources": [f"bids:raw:{place}/{report['inputs']['query']['file']}"],
            "SpatialReference": f"bids:raw:{place}/{report['inputs']['query']['file']}",
            PROGRAM: report,
        }
        rows = ["index\tname\tcolor"]
        for value, name in sorted(segmentation.names.items()):
            colour = "".join(f"{channel:02X}" for channel in segmentation.colours[value])
            rows.append(f"{value}\t{' '.join(name.split())}\t#{colour}")
        return {outputs.report: to_json(sidecar), outputs.names: "\n".join(rows) + "\n"}


def check_derivatives(raw: Path, out: Path) -> None:
    """See that `out` may become a dataset of ours.

    Raises
    ------
    InputError
        If it is the raw dataset or one of another program.
    """
    if out.resolve() == raw.resolve():
        raise InputError(
            f"{out}: is the raw dataset; give a folder for derivatives, such as {out}/derivatives/atlassegfm"
        )
    if (out / DESCRIPTION).exists():
        makers = read_description(out).get("GeneratedBy") or [{}]
        if not any(isinstance(maker, dict) and maker.get("Name") == PROGRAM for maker in makers):
            raise InputError(f"{out}: holds a dataset that {PROGRAM} has not made; choose another folder")


def write_description(raw: Path, out: Path) -> None:
    """Write what describes the dataset, unless it is there and the same.

    Parameters
    ----------
    raw, out : Path
        Tops of the raw dataset and of this one.

    Raises
    ------
    InputError
        If it cannot be written.
    """
    from atlassegfm import __version__

    theirs = read_description(raw)
    description = {
        "Name": f"{PROGRAM} segmentations of {theirs.get('Name', 'a BIDS dataset')}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [
            {"Name": PROGRAM, "Version": __version__, "Description": "Segmentation from one labelled scan"}
        ],
        # Relative, so that both can be moved together and nobody's folders are told.
        "DatasetLinks": {"raw": Path(os.path.relpath(raw.resolve(), out.resolve())).as_posix()},
    }
    if theirs.get("DatasetDOI"):
        description["SourceDatasets"] = [{"DOI": theirs["DatasetDOI"]}]
    texts = {DESCRIPTION: to_json(description), ".bidsignore": "\n".join(IGNORED) + "\n", "README": README}
    for name, text in texts.items():
        path = out / name
        if not (path.is_file() and path.read_text(encoding="utf-8") == text):
            write_text_atomic(path, text)
