"""What makes the method unfit for a pair of scans, or for a label, whatever the figures say: told, and nothing is good.

The result is made as well as it can be and goes with a warning; see docs/decisions/0014-quality.md for what is seen
and what is not.
"""

from __future__ import annotations

import re

import numpy as np
from scipy.linalg import polar
from scipy.spatial.transform import Rotation

from atlassegfm.errors import RegistrationError
from atlassegfm.modality import kind_of
from atlassegfm.registration.mirrored import mirrored_fits_better
from atlassegfm.registration.result import RegistrationResult
from atlassegfm.volume import Volume

#: Patients lie askew by less than this; a header that lies is off by a quarter turn.
MOST_TURNED_DEG = 50.0
#: Words for what lies where it lies by chance. GTV, CTV, PTV and ITV are targets of radiotherapy.
FOCAL = re.compile(
    r"lesion|tumou?r|metasta|cancer|carcinoma|malignan|nodule|cyst|polyp|plaque|infarct|stroke|isch(a)?emi|h(a)?emorrh"
    r"|bleed|h(a)?ematoma|abscess|oedema|edema|(?<![a-z])([gcpi]tv)(?![a-z])",
    re.IGNORECASE,
)


def suspicions_of_pair(atlas: Volume, query: Volume, forward: RegistrationResult, device: str = "cpu") -> list[str]:
    """Why atlas and query do not go together, in words; empty when nothing speaks against it.

    Parameters
    ----------
    atlas, query : Volume
        Images with raw intensities.
    forward : RegistrationResult
        Query points to atlas points.
    device : str
        "cpu" or "cuda".
    """
    found = []
    kinds = kind_of(atlas), kind_of(query)
    if all(kinds) and kinds[0] != kinds[1]:
        found.append(f"atlas and query are of different kinds ({kinds[0]} and {kinds[1]}), which this is not made for")
    angle = turned_by(forward.transform.matrix)
    if angle > MOST_TURNED_DEG:
        found.append(
            f"the query lies turned by {angle:.0f} degrees against the atlas: the orientation in one of the headers is "
            "probably wrong"
        )
    try:
        mirrored = mirrored_fits_better(query, atlas, device)
    except RegistrationError:
        # Whatever made the registration itself work: this question has no answer for these images.
        mirrored = False
    if mirrored:
        found.append("the atlas's mirror image fits better: left and right are probably exchanged in one of the scans")
    return found


def turned_by(matrix: np.ndarray) -> float:
    """Angle in degrees of the rotation in an affine map (4, 4) or (3, 3), by its polar decomposition."""
    rotation = polar(np.asarray(matrix, dtype=float)[:3, :3])[0]
    return float(np.degrees(Rotation.from_matrix(rotation).magnitude())) if np.linalg.det(rotation) > 0 else 180.0


def suspicions_of_label(name: str) -> list[str]:
    """Why a label of that name is not one that an atlas can find, in words; empty for anatomy."""
    if FOCAL.search(name) is None:
        return []
    return ["its name tells of a lesion or target, which no atlas knows the place of"]
