# ruff: noqa: SIM905 - split words read better than a hundred quoted ones
"""Label names of the public data sets, in the order of their numbers."""

from __future__ import annotations

_VERTEBRAE = [
    *(f"vertebrae_L{n}" for n in range(5, 0, -1)),
    *(f"vertebrae_T{n}" for n in range(12, 0, -1)),
    *(f"vertebrae_C{n}" for n in range(7, 0, -1)),
]
_RIBS = [f"rib_{side}_{n}" for side in ("left", "right") for n in range(1, 13)]
_LUNG = """lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right lung_middle_lobe_right
    lung_lower_lobe_right""".split()
_ILIAC = "iliac_artery_left iliac_artery_right iliac_vena_left iliac_vena_right".split()
_LIMBS = """humerus_left humerus_right scapula_left scapula_right clavicula_left clavicula_right femur_left femur_right
    hip_left hip_right""".split()
_MUSCLES = """gluteus_maximus_left gluteus_maximus_right gluteus_medius_left gluteus_medius_right gluteus_minimus_left
    gluteus_minimus_right autochthon_left autochthon_right iliopsoas_left iliopsoas_right""".split()

#: TotalSegmentator's 104 classes of version 1, number 1 first.
TOTAL_V1 = [
    *"spleen kidney_right kidney_left gallbladder liver stomach aorta inferior_vena_cava".split(),
    *"portal_vein_and_splenic_vein pancreas adrenal_gland_right adrenal_gland_left".split(),
    *_LUNG,
    *_VERTEBRAE,
    *"esophagus trachea heart_myocardium heart_atrium_left heart_ventricle_left heart_atrium_right".split(),
    *"heart_ventricle_right pulmonary_artery brain".split(),
    *_ILIAC,
    *"small_bowel duodenum colon".split(),
    *_RIBS,
    *_LIMBS,
    *"sacrum face".split(),
    *_MUSCLES,
    "urinary_bladder",
]

#: TotalSegmentator's 117 classes of version 2, number 1 first.
TOTAL_V2 = [
    *"spleen kidney_right kidney_left gallbladder liver stomach pancreas".split(),
    *"adrenal_gland_right adrenal_gland_left".split(),
    *_LUNG,
    *"esophagus trachea thyroid_gland small_bowel duodenum colon urinary_bladder prostate".split(),
    *"kidney_cyst_left kidney_cyst_right sacrum vertebrae_S1".split(),
    *_VERTEBRAE,
    *"heart aorta pulmonary_vein brachiocephalic_trunk subclavian_artery_right subclavian_artery_left".split(),
    *"common_carotid_artery_right common_carotid_artery_left brachiocephalic_vein_left".split(),
    *"brachiocephalic_vein_right atrial_appendage_left superior_vena_cava inferior_vena_cava".split(),
    "portal_vein_and_splenic_vein",
    *_ILIAC,
    *_LIMBS,
    "spinal_cord",
    *_MUSCLES,
    *"brain skull".split(),
    *_RIBS,
    *"sternum costal_cartilages".split(),
]

#: BTCV / Synapse, 13 organs.
BTCV = dict(
    enumerate(
        [
            "spleen", "right kidney", "left kidney", "gallbladder", "oesophagus", "liver", "stomach", "aorta",
            "inferior vena cava", "portal and splenic vein", "pancreas", "right adrenal gland", "left adrenal gland",
        ],
        1,
    )
)  # fmt: skip

_OASIS_ONE_SIDE = [
    "cerebral white matter", "cerebral cortex", "lateral ventricle", "inferior lateral ventricle",
    "cerebellum white matter", "cerebellum cortex", "thalamus", "caudate", "putamen", "pallidum",
]  # fmt: skip
_OASIS_REST = ["hippocampus", "amygdala", "accumbens area", "ventral DC", "vessel", "choroid plexus"]

#: Neurite's OASIS, 35 structures (seg35): left side with the midline structures in it, then the right side.
OASIS35 = dict(
    enumerate(
        [
            *(f"left {n}" for n in _OASIS_ONE_SIDE),
            "3rd ventricle", "4th ventricle", "brain stem",
            *(f"left {n}" for n in _OASIS_REST),
            *(f"right {n}" for n in (*_OASIS_ONE_SIDE, *_OASIS_REST)),
        ],
        1,
    )
)  # fmt: skip

#: HaN-Seg, 30 organs at risk, with the numbers of the challenge.
HANSEG = dict(
    enumerate(
        """A_Carotid_L A_Carotid_R Arytenoid Bone_Mandible Brainstem BuccalMucosa Cavity_Oral Cochlea_L Cochlea_R
        Cricopharyngeus Esophagus_S Eye_AL Eye_AR Eye_PL Eye_PR Glnd_Lacrimal_L Glnd_Lacrimal_R Glnd_Submand_L
        Glnd_Submand_R Glnd_Thyroid Glottis Larynx_SG Lips OpticChiasm OpticNrv_L OpticNrv_R Parotid_L Parotid_R
        Pituitary SpinalCord""".split(),
        1,
    )
)
