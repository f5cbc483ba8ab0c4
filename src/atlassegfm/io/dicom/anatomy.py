"""Names of structures to SNOMED CT, through pydicom's own dictionary of DICOM's context groups.

A name is cut into words; words for a side become a laterality, the rest has to be a known name as a whole. Nothing is
guessed: "Kidney_L" and "left kidney" are the kidney, left; "kidney cyst" is not known. What is not known becomes the
stated fallback, "Anatomical Structure" (SNOMED CT 91723000), and keeps its name as the segment's label.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

_SIDES = {"left": "Left", "l": "Left", "lt": "Left", "right": "Right", "r": "Right", "rt": "Right"}
_ABNORMAL = {"tumor": "Neoplasm", "tumour": "Neoplasm", "neoplasm": "Neoplasm"}
#: Names in lower case, words joined by blanks, to keywords of pydicom's SNOMED CT dictionary.
_KNOWN = {
    "adrenal": "AdrenalGland", "adrenal gland": "AdrenalGland", "amygdala": "Amygdala", "aorta": "Aorta",
    "atrium left": "LeftAtrium", "left atrium": "LeftAtrium", "atrium right": "RightAtrium",
    "right atrium": "RightAtrium", "bladder": "Bladder", "urinary bladder": "Bladder", "bone": "Bone",
    "brachial plexus": "BrachialPlexus", "brain": "Brain", "brain stem": "BrainStem", "brainstem": "BrainStem",
    "breast": "Breast", "bronchus": "Bronchus", "caudate": "CaudateNucleus", "caudate nucleus": "CaudateNucleus",
    "cerebellum": "Cerebellum", "chiasm": "OpticChiasm", "optic chiasm": "OpticChiasm", "clavicle": "Clavicle",
    "colon": "Colon", "duodenum": "Duodenum", "esophagus": "Esophagus", "oesophagus": "Esophagus", "eye": "Eye",
    "femoral head": "FemoralHead", "femur head": "FemoralHead", "femur": "Femur", "gallbladder": "Gallbladder",
    "gall bladder": "Gallbladder", "globus pallidus": "GlobusPallidus", "pallidum": "GlobusPallidus",
    "heart": "Heart", "hepatic vein": "HepaticVein", "hip": "Hip", "hippocampus": "Hippocampus",
    "humerus": "Humerus", "inferior vena cava": "InferiorVenaCava", "ivc": "InferiorVenaCava",
    "postcava": "InferiorVenaCava", "kidney": "Kidney", "lacrimal gland": "LacrimalGland", "larynx": "Larynx",
    "lateral ventricle": "LateralVentricle", "lens": "Lens", "liver": "Liver", "lung": "Lung",
    "mandible": "Mandible", "left ventricle": "LeftVentricle", "ventricle left": "LeftVentricle",
    "right ventricle": "RightVentricle", "ventricle right": "RightVentricle",
    "left ventricular myocardium": "LeftVentricleMyocardium", "left ventricle myocardium": "LeftVentricleMyocardium",
    "nucleus accumbens": "NucleusAccumbens", "accumbens": "NucleusAccumbens", "optic nerve": "OpticNerve",
    "oral cavity": "OralCavity", "ovary": "Ovary", "pancreas": "Pancreas", "parotid": "ParotidGland",
    "parotid gland": "ParotidGland", "pelvis": "Pelvis", "pharynx": "Pharynx", "pituitary": "Pituitary",
    "portal vein": "PortalVein", "prostate": "Prostate", "pulmonary artery": "PulmonaryArtery", "putamen": "Putamen",
    "rectum": "Rectum", "sacrum": "Sacrum", "scapula": "Scapula", "seminal vesicle": "SeminalVesicle",
    "skin": "Skin", "small bowel": "SmallIntestine", "small intestine": "SmallIntestine",
    "spinal cord": "SpinalCord", "spinalcord": "SpinalCord", "spleen": "Spleen", "splenic vein": "SplenicVein",
    "sternum": "Sternum", "stomach": "Stomach", "submandibular gland": "SubmandibularGland",
    "submandibular": "SubmandibularGland", "superior vena cava": "SuperiorVenaCava", "svc": "SuperiorVenaCava",
    "testis": "Testis", "thalamus": "Thalamus", "thymus": "Thymus", "thyroid": "Thyroid", "trachea": "Trachea",
    "uterus": "Uterus", "vertebra": "Vertebra",
}  # fmt: skip


@dataclass(frozen=True)
class Anatomy:
    """How a structure is coded.

    Parameters
    ----------
    category, kind : Code
        Segmented property category and type.
    side : Code or None
        Laterality, modifier of the type.
    known : bool
        False for the fallback.
    """

    category: Code
    kind: Code
    side: Code | None = None
    known: bool = True


def anatomy_of(name: str) -> Anatomy:
    """Codes for a structure's name."""
    sct = codes.SCT
    words = re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower())
    sides = {_SIDES[word] for word in words if word in _SIDES}
    plain = " ".join(word for word in words if word not in _SIDES)
    whole = " ".join({"l": "left", "r": "right"}.get(word, word) for word in words)
    for text in (whole, plain, plain.removesuffix("s")):
        if text in _ABNORMAL:
            return Anatomy(sct.MorphologicallyAbnormalStructure, getattr(sct, _ABNORMAL[text]))
        # Two sides, or a side that the known name has already, say nothing more.
        if text in _KNOWN and len(sides) < 2:
            side = getattr(sct, next(iter(sides))) if sides and text != whole else None
            return Anatomy(sct.AnatomicalStructure, getattr(sct, _KNOWN[text]), side)
    return Anatomy(sct.AnatomicalStructure, sct.AnatomicalStructure, known=False)
