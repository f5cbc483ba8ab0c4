"""What kind of scan an image is, as far as its header and its values say so beyond doubt."""

from __future__ import annotations

import numpy as np

from atlassegfm.volume import Volume

#: Air in Hounsfield units lies below this; no other modality reaches there.
AIR_HU = -700.0
#: Part of the voxels that has to be air.
AIR_FRACTION = 0.01


def kind_of(volume: Volume) -> str:
    """The modality: "CT", "no CT" for values that are none, empty when nobody knows."""
    series = volume.meta.get("dicom_series")
    if series is not None:
        modality = series.frames[0].instance.modality
        return modality if modality == "CT" else "no CT"
    low = float(volume.data.min())
    if low >= 0:
        return "no CT"
    air = float(np.mean(volume.data < AIR_HU)) if low < AIR_HU else 0.0
    return "CT" if air >= AIR_FRACTION else ""
