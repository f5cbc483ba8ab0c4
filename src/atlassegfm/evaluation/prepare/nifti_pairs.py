"""Data sets whose cases are NIfTI files already: BTCV, OASIS, MSD, ACDC, TotalSegmentator."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from atlassegfm.errors import InputError
from atlassegfm.evaluation.prepare.archive import find
from atlassegfm.evaluation.prepare.base import Found, RawCase, Source
from atlassegfm.evaluation.prepare.merge import merged, renamed
from atlassegfm.evaluation.prepare.names import BTCV, OASIS35, TOTAL_V1, TOTAL_V2
from atlassegfm.io import read_image, read_labels, stem
from atlassegfm.volume import Grid, Volume


def pair(case_id: str, image: Path, labels: Path) -> RawCase:
    """A case of two files; the image is copied as it is."""
    return RawCase(case_id, lambda: (read_image(image), read_labels(labels)), image)


# ----------------------------------------------------------------------------------------- BTCV


def _btcv(roots: list[Path]) -> Found:
    cases = []
    for labels in find(roots, "label[0-9]*.nii*"):
        number = re.fullmatch(r"label(\d+)", stem(labels))
        images = find([labels.parent.parent / "img"], f"img{number[1]}.nii*") if number else []
        if images:
            cases.append(pair(f"case_{number[1]}", images[0], labels))
    return Found(cases, BTCV)


# ----------------------------------------------------------------------------------------- OASIS


def _oasis(roots: list[Path]) -> Found:
    cases = []
    for labels in find(roots, "aligned_seg35.nii.gz"):  # neurite: one folder per subject
        image = labels.with_name("aligned_norm.nii.gz")
        if image.is_file():
            cases.append(pair(labels.parent.name, image, labels))
    if not cases:  # Learn2Reg: imagesTr, labelsTr
        for labels in find(roots, "labelsTr/OASIS_*.nii.gz"):
            image = labels.parent.parent / "imagesTr" / labels.name
            if image.is_file():
                cases.append(pair(stem(labels).removesuffix("_0000"), image, labels))
    return Found(cases, OASIS35)


# ----------------------------------------------------------------------------------------- MSD


def msd_source(channel: int = 0) -> Source:
    """Any task of the Medical Segmentation Decathlon; names and title are read from its own ``dataset.json``.

    Parameters
    ----------
    channel : int
        Which image to take where a task has several (brain tumour: FLAIR, T1w, T1gd, T2w; prostate: T2, ADC).
    """

    def look(roots: list[Path]) -> Found:
        tasks = [p for p in find(roots, "dataset.json") if (p.parent / "labelsTr").is_dir()]
        if len(tasks) != 1:
            found = ", ".join(p.parent.name for p in tasks) or "none"
            raise InputError(f"expected one task with dataset.json and labelsTr/, found {found}; give one task")
        facts = json.loads(tasks[0].read_text(encoding="utf-8"))
        names = {int(v): str(name) for v, name in facts["labels"].items() if int(v) > 0}
        cases = []
        for labels in find([tasks[0].parent / "labelsTr"], "*.nii.gz"):
            image = tasks[0].parent / "imagesTr" / labels.name
            if not image.is_file():
                raise InputError(f"{labels.name}: no image of that name in imagesTr/")
            cases.append(_msd_case(image, labels, channel))
        return Found(cases, names, f"Medical Segmentation Decathlon, {tasks[0].parent.name}", _modality(facts, channel))

    return Source(
        name="msd",
        title="Medical Segmentation Decathlon",
        modality="see the task",
        home="http://medicaldecathlon.com",
        licence="CC BY-SA 4.0",
        citation="Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13 (2022) 4128, "
        "doi:10.1038/s41467-022-30695-9",
        find=look,
        hint="TaskNN_NAME/dataset.json, imagesTr/ and labelsTr/ (TaskNN_NAME.tar)",
    )


def _modality(facts: dict, channel: int) -> str:
    """The channel's name in a task's ``modality`` table, where there is one."""
    table = facts.get("modality")
    return str(table.get(str(channel), "")) if isinstance(table, dict) else ""


def _msd_case(image: Path, labels: Path, channel: int) -> RawCase:
    import nibabel as nib

    shape = nib.load(image).shape
    if len(shape) == 3:
        return pair(stem(labels), image, labels)
    if not 0 <= channel < shape[3]:
        raise InputError(f"{image.name}: has channels 0 to {shape[3] - 1}, not {channel}")

    def load() -> tuple[Volume, Volume]:
        file = nib.load(image)
        data = np.asarray(file.dataobj[..., channel], dtype=np.float32)
        return Volume(data, Grid(data.shape, file.affine)), read_labels(labels)

    return RawCase(stem(labels), load)


# ----------------------------------------------------------------------------------------- ACDC


def _acdc(roots: list[Path], phase: str) -> Found:
    cases = []
    for info in find(roots, "Info.cfg"):
        frame = re.search(rf"^{phase}:\s*(\d+)", info.read_text(encoding="utf-8"), re.MULTILINE)
        patient = info.parent.name
        base = f"{patient}_frame{int(frame[1]):02d}" if frame else ""
        image, labels = info.with_name(f"{base}.nii.gz"), info.with_name(f"{base}_gt.nii.gz")
        if frame and image.is_file() and labels.is_file():
            cases.append(pair(base, image, labels))
    return Found(cases, {1: "right ventricle", 2: "left ventricular myocardium", 3: "left ventricle"})


def _acdc_source(name: str, phase: str, title: str) -> Source:
    return Source(
        name=name,
        title=f"ACDC heart MR, {title}",
        modality="cine MR, short axis",
        home="https://www.creatis.insa-lyon.fr/Challenge/acdc/",
        licence="CC BY-NC-SA 4.0",
        citation="Bernard et al., Deep Learning Techniques for Automatic MRI Cardiac Multi-Structures Segmentation and "
        "Diagnosis, IEEE TMI 37 (2018) 2514-2525, doi:10.1109/TMI.2018.2837502",
        find=partial(_acdc, phase=phase),
        expected=150,
        hint="patientNNN/Info.cfg, patientNNN_frameNN.nii.gz and patientNNN_frameNN_gt.nii.gz",
    )


# ----------------------------------------------------------------------------------------- TotalSegmentator


def _total(roots: list[Path], image_name: str) -> Found:
    folders = [p for p in find(roots, "segmentations") if (p.parent / image_name).is_file()]
    found = sorted({stem(p) for folder in folders for p in find([folder], "*.nii.gz")})
    names = _numbered(found)
    values = {name: value for value, name in names.items()}
    cases = [
        RawCase(f.parent.name, partial(_load_masks, f.parent / image_name, f, values), f.parent / image_name)
        for f in folders
    ]
    return Found(cases, renamed(names))


def _numbered(found: Sequence[str]) -> dict[int, str]:
    """TotalSegmentator's own numbers where all files are of one of its class maps, else by alphabet."""
    for official in (TOTAL_V2, TOTAL_V1):
        if set(found) <= set(official):
            return {n: name for n, name in enumerate(official, 1) if name in set(found)}
    return dict(enumerate(found, 1))


def _load_masks(image: Path, folder: Path, values: dict[str, int]) -> tuple[Volume, Volume]:
    scan = read_image(image)
    masks = ((values[stem(p)], read_labels(p).data > 0) for p in find([folder], "*.nii.gz"))
    return scan, Volume(merged(masks, scan.grid.shape), scan.grid)


def _total_source(name: str, image_name: str, title: str, modality: str, home: str, licence: str) -> Source:
    return Source(
        name=name,
        title=title,
        modality=modality,
        home=home,
        licence=licence,
        citation="Wasserthal et al., TotalSegmentator: robust segmentation of 104 anatomic structures in CT images, "
        "Radiology: Artificial Intelligence 5 (2023) e230024, doi:10.1148/ryai.230024",
        find=partial(_total, image_name=image_name),
        hint=f"sNNNN/{image_name} and sNNNN/segmentations/STRUCTURE.nii.gz",
    )


SOURCES = (
    Source(
        name="btcv",
        title="BTCV / Synapse multi-organ abdomen CT",
        modality="portal venous CT",
        home="https://www.synapse.org/Synapse:syn3193805",
        licence="Synapse terms of the challenge; not to be redistributed",
        citation="Landman et al., MICCAI Multi-Atlas Labeling Beyond the Cranial Vault - Workshop and Challenge "
        "(2015), doi:10.7303/syn3193805",
        find=_btcv,
        expected=30,
        hint="RawData/Training/img/imgNNNN.nii.gz and label/labelNNNN.nii.gz (RawData.zip)",
    ),
    Source(
        name="oasis",
        title="OASIS-1 brain MR, 35 structures",
        modality="T1 MR, skull-stripped, affinely aligned, 1 mm",
        home="https://github.com/adalca/medical-datasets/blob/master/neurite-oasis.md",
        licence="OASIS Data Use Agreement",
        citation="Marcus et al., Open Access Series of Imaging Studies (OASIS), J Cogn Neurosci 19 (2007) 1498-1507; "
        "Hoopes et al., HyperMorph, IPMI 2021 (processing)",
        find=_oasis,
        hint="OASIS_OAS1_NNNN_MR1/aligned_norm.nii.gz and aligned_seg35.nii.gz (neurite), or Learn2Reg's imagesTr/ "
        "and labelsTr/",
    ),
    msd_source(),
    _acdc_source("acdc", "ED", "end of diastole"),
    _acdc_source("acdc-es", "ES", "end of systole"),
    _total_source(
        "totalsegmentator",
        "ct.nii.gz",
        "TotalSegmentator CT",
        "CT, 1.5 mm",
        "https://doi.org/10.5281/zenodo.10047292",
        "CC BY 4.0",
    ),
    _total_source(
        "totalsegmentator-mr",
        "mri.nii.gz",
        "TotalSegmentator MRI",
        "MR",
        "https://zenodo.org/records/11367004",
        "as stated on its Zenodo page",
    ),
)
