"""MedSAM (Ma et al., Nature Communications 2024): SAM trained on medical slices with boxes."""

from __future__ import annotations

from dataclasses import replace

from atlassegfm.models.catalogue import sam
from atlassegfm.models.info import Weights

INFO = replace(
    sam.INFO,
    name="medsam",
    summary="MedSAM: SAM trained on medical slices, box on each slice",
    # Trained with boxes only.
    prompts=("box",),
    target="atlassegfm.models.catalogue.medsam:MedSam",
    modalities=("CT", "MR", "US", "any 2D"),
    weights=Weights(
        licence="Apache-2.0",
        main=".",
        about_mb=375,
        repo="wanglab/medsam-vit-base",
        files=sam.FILES,
    ),
)


class MedSam(sam.Sam):
    """As `sam.Sam`, with other weights."""

    info = INFO
