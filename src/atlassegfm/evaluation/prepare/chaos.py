"""CHAOS: abdominal MR (T1-DUAL, T2-SPIR) with four organs, CT with the liver."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from atlassegfm.evaluation.prepare.archive import find
from atlassegfm.evaluation.prepare.base import Found, RawCase, Source
from atlassegfm.evaluation.prepare.slices import read_stack

_TERMS = {
    "home": "https://doi.org/10.5281/zenodo.3431873",
    "licence": "CC BY-NC-SA 4.0",
    "citation": "Kavur et al., CHAOS Challenge - combined (CT-MR) healthy abdominal organ segmentation, Medical Image "
    "Analysis 69 (2021) 101950, doi:10.1016/j.media.2020.101950",
    "expected": 20,
}
MR_LABELS = {1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"}
#: Grey levels of the ground-truth PNGs, as the challenge states them (63, 126, 189 and 252 in the files).
MR_GREY = {1: (55, 70), 2: (110, 135), 3: (175, 200), 4: (240, 255)}


def _cases(roots: list[Path], modality: str, sequence: str, images: str, grey: dict) -> list[RawCase]:
    cases = []
    for ground in find(roots, "Ground"):
        folder = ground.parent
        patient = folder.parent if sequence else folder
        if patient.parent.name != modality or (sequence and folder.name != sequence):
            continue
        slices = [p for p in find([folder / images], "*") if p.is_file() and p.suffix.lower() in (".dcm", "")]
        masks = find([ground], "*.png")
        if slices and masks:
            number = int(patient.name) if patient.name.isdigit() else patient.name
            name = f"case_{number:02d}" if isinstance(number, int) else f"case_{number}"
            cases.append(RawCase(name, partial(read_stack, slices, masks, grey)))
    return sorted(cases, key=lambda case: case.id)


def _mr(sequence: str, images: str, name: str, title: str) -> Source:
    return Source(
        name=name,
        title=f"CHAOS abdomen MR, {title}",
        modality=f"{title} MR",
        find=lambda roots: Found(_cases(roots, "MR", sequence, images, MR_GREY), MR_LABELS),
        hint=f"Train_Sets/MR/NUMBER/{sequence}/{images}/*.dcm and Ground/*.png (CHAOS_Train_Sets.zip)",
        **_TERMS,
    )


SOURCES = (
    _mr("T2SPIR", "DICOM_anon", "chaos", "T2-SPIR"),
    _mr("T1DUAL", "DICOM_anon/InPhase", "chaos-t1-in", "T1-DUAL in phase"),
    _mr("T1DUAL", "DICOM_anon/OutPhase", "chaos-t1-out", "T1-DUAL out of phase"),
    Source(
        name="chaos-ct",
        title="CHAOS abdomen CT",
        modality="portal venous CT",
        find=lambda roots: Found(_cases(roots, "CT", "", "DICOM_anon", {1: (1, 255)}), {1: "liver"}),
        hint="Train_Sets/CT/NUMBER/DICOM_anon/*.dcm and Ground/*.png (CHAOS_Train_Sets.zip)",
        **_TERMS,
    ),
)
