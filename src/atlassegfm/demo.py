"""The demo: make a synthetic pair with known truth, run the whole pipeline on its files, say how good each step was."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from atlassegfm.errors import InputError
from atlassegfm.io import read_image, write_image, write_labels, write_text_atomic
from atlassegfm.phantom import PhantomPair, make_pair
from atlassegfm.report.outputs import Outputs, write_outputs

if TYPE_CHECKING:
    from rich.table import Table

    from atlassegfm.registration.result import Progress
    from atlassegfm.segmentation import Segmentation
    from atlassegfm.volume import Volume

#: Columns of the result, in the order of the method's steps.
STAGES = ("registration alone", "model alone", "fusion")


@dataclass(frozen=True)
class DemoFiles:
    """The synthetic pair on disk."""

    atlas: Path
    labels: Path
    names: Path
    query: Path
    truth: Path

    @classmethod
    def of(cls, folder: Path) -> DemoFiles:
        """The file names in `folder`."""
        files = ("atlas.nii.gz", "atlas_labels.nii.gz", "dataset.json", "query.nii.gz", "query_truth.nii.gz")
        return cls(*(folder / name for name in files))


@dataclass(frozen=True)
class DemoResult:
    """What the demo found.

    Attributes
    ----------
    dice : dict of str to dict of str to float
        Label name, then stage (see `STAGES`), to Dice against the truth.
    files : DemoFiles
        What was made up.
    outputs : Outputs
        What `segment` wrote.
    segmentation : Segmentation
        The result itself.
    """

    dice: dict[str, dict[str, float]]
    files: DemoFiles
    outputs: Outputs
    segmentation: Segmentation

    def mean(self, stage: str) -> float:
        """Mean Dice of a stage over the labels."""
        return sum(row[stage] for row in self.dice.values()) / len(self.dice)


def run_demo(
    out_dir: str | Path, seed: int = 0, progress: Progress | None = None, *, model: str = "builtin"
) -> DemoResult:
    """Run the demo.

    Parameters
    ----------
    out_dir : str or Path
        Folder for the pair and the results; made if missing.
    seed : int
        Seed of the synthetic pair and of the pipeline.
    progress : callable, optional
        Called with the name of a step and the fraction of it that is done.
    model : str
        Segmentation model, as for `atlassegfm.segment`.

    Returns
    -------
    DemoResult
    """
    from atlassegfm.atlas import Atlas
    from atlassegfm.pipeline import segment

    folder = Path(out_dir)
    report = progress or (lambda step, fraction: None)
    report("make the scans", 0.0)
    pair = make_pair(seed)
    files = write_pair(pair, folder, seed)
    report("make the scans", 1.0)
    atlas, query = Atlas.load(files.atlas, files.labels), read_image(files.query)
    result = segment(atlas, query, model=model, seed=seed, progress=progress)
    report("write the results", 0.0)
    inputs = {"query": files.query, "atlas_image": files.atlas, "atlas_labels": files.labels}
    outputs = write_outputs(folder, "query", query, result, inputs)
    report("write the results", 1.0)
    return DemoResult(score(result, pair.truth), files, outputs, result)


def write_pair(pair: PhantomPair, folder: Path, seed: int = 0) -> DemoFiles:
    """Write a synthetic pair as the files that a user would have; the folder is made if missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be made ({error.strerror}); choose another with -o") from error
    files = DemoFiles.of(folder)
    write_image(files.atlas, pair.image)
    write_labels(files.labels, pair.labels, pair.image, pair.names)
    write_image(files.query, pair.query)
    write_labels(files.truth, pair.truth, pair.query, pair.names)
    facts = {
        "name": f"AtlasSegFM synthetic abdomen, seed {seed}",
        "modality": "synthetic, in the manner of T1 MR",
        "labels": {str(value): name for value, name in pair.names.items()},
        "licence": "made by a program, free of rights",
    }
    write_text_atomic(files.names, json.dumps(facts, indent=2) + "\n")
    return files


def score(result: Segmentation, truth: Volume) -> dict[str, dict[str, float]]:
    """Dice against the truth per label name and stage; no model gives no figure for it."""
    from atlassegfm.overlap import dice

    maps = dict(zip(STAGES, (result.atlas_labels, result.model_labels, result.labels), strict=True))
    return {
        name: {stage: dice(v.data == value, truth.data == value) for stage, v in maps.items() if v is not None}
        for value, name in result.names.items()
    }


def dice_table(result: DemoResult) -> Table:
    """The figures as a table for the terminal."""
    from rich.table import Table

    stages = list(next(iter(result.dice.values())))
    table = Table(title="Dice against the known truth, %")
    table.add_column("label")
    for stage in stages:
        table.add_column(stage, justify="right")
    for name, row in result.dice.items():
        table.add_row(name, *(f"{100 * row[stage]:.1f}" for stage in stages))
    table.add_section()
    table.add_row("mean", *(f"{100 * result.mean(stage):.1f}" for stage in stages), style="bold")
    return table
