"""Data sets of NRRD scans with 3D Slicer segmentations: AVT and HaN-Seg."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from atlassegfm.evaluation.prepare.archive import find
from atlassegfm.evaluation.prepare.base import Found, RawCase, Source
from atlassegfm.evaluation.prepare.merge import merged, on_grid
from atlassegfm.evaluation.prepare.names import HANSEG
from atlassegfm.io import read_image, read_labels
from atlassegfm.volume import Grid, Volume


def _masks(files: list[tuple[int, Path]], grid: Grid) -> Iterator[tuple[int, np.ndarray]]:
    for value, path in files:
        yield value, on_grid(read_labels(path), grid).data > 0


def _load(image: Path, files: list[tuple[int, Path]]) -> tuple[Volume, Volume]:
    scan = read_image(image)
    return scan, Volume(merged(_masks(files, scan.grid), scan.grid.shape), scan.grid)


def _avt(roots: list[Path]) -> Found:
    cases = []
    for segmentation in find(roots, "*.seg.nrrd"):
        name = segmentation.name.removesuffix(".seg.nrrd")
        image = segmentation.with_name(f"{name}.nrrd")
        if image.is_file():
            cases.append(RawCase(name, partial(_load, image, [(1, segmentation)])))
    return Found(cases, {1: "aortic vessel tree"})


def _hanseg(roots: list[Path]) -> Found:
    values = {name: value for value, name in HANSEG.items()}
    cases = []
    for image in find(roots, "case_*_IMG_CT.nrrd"):
        name = image.name.removesuffix("_IMG_CT.nrrd")
        files = [
            (values[organ], path)
            for path in find([image.parent], f"{name}_OAR_*.seg.nrrd")
            if (organ := path.name.removeprefix(f"{name}_OAR_").removesuffix(".seg.nrrd")) in values
        ]
        if files:
            cases.append(RawCase(name, partial(_load, image, files)))
    return Found(cases, HANSEG)


SOURCES = (
    Source(
        name="avt",
        title="AVT aortic vessel tree CTA",
        modality="CT angiography",
        home="https://doi.org/10.6084/m9.figshare.14806362",
        licence="as stated on its figshare page; the KiTS and RIDER scans keep the terms of their sources",
        citation="Radl et al., AVT: Multicenter aortic vessel tree CTA dataset collection with ground truth "
        "segmentation masks, Data in Brief 40 (2022) 107801, doi:10.1016/j.dib.2022.107801",
        find=_avt,
        expected=56,
        hint="KiTS/, Rider/ and Dongyang/ (or their zip files) with NAME/NAME.nrrd and NAME/NAME.seg.nrrd",
    ),
    Source(
        name="hanseg",
        title="HaN-Seg head and neck CT, 30 organs at risk",
        modality="CT",
        home="https://doi.org/10.5281/zenodo.7442914",
        licence="CC BY-ND 4.0",
        citation="Podobnik et al., HaN-Seg: The head and neck organ-at-risk CT & MR segmentation dataset, Medical "
        "Physics 50 (2023) 1917-1927, doi:10.1002/mp.16197",
        find=_hanseg,
        expected=42,
        hint="HaN-Seg/set_1/case_NN/case_NN_IMG_CT.nrrd and case_NN_OAR_ORGAN.seg.nrrd (HaN-Seg.zip)",
    ),
)
