"""An example of a model in a package of its own: what is as bright as the middle of the prior, near the prior.

This module is imported when the model is listed, so it stays light; the session behind ``target`` when the model runs.
"""

from dataclasses import dataclass

from atlassegfm.models.info import ModelInfo
from atlassegfm.options import check_bounds


@dataclass(frozen=True)
class Options:
    """Options of the example, given as ``--model-option reach_mm=5``.

    Parameters
    ----------
    reach_mm : float
        How far from the prior voxels may belong to the label, in mm.
    """

    reach_mm: float = 4.0

    def __post_init__(self) -> None:
        check_bounds(self, {"reach_mm": (self.reach_mm >= 0, "0 mm or more")})


INFO = ModelInfo(
    name="threshold",
    summary="example of a model in a package of its own: intensities like the middle of the prior",
    dimension="3D",
    prompts=("mask",),
    licence="Apache-2.0",
    target="atlassegfm_threshold.session:Threshold",
    intensity="standard deviations from the median of the prior's inner half",
    spacing="as it is; lengths are measured in mm",
    options=Options,
)
