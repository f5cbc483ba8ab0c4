"""How much work the built-in registration puts in, by quality; measured in docs/decisions/0002-registration.md."""

from __future__ import annotations

from dataclasses import dataclass, replace

from atlassegfm.registration.copies import working_spacing
from atlassegfm.registration.level import DeformableSettings
from atlassegfm.volume import Volume

#: Starts refined by the linear step.
STARTS = 4
#: A finest level is made coarser for speed as long as it keeps so many voxels.
FEWEST_VOXELS = 250_000
#: A search for large displacements looks at no more voxels than this where time counts.
FEW_LOOKED = 200_000


@dataclass(frozen=True)
class Plan:
    """How much work the deformable method puts in.

    Parameters
    ----------
    starts : int
        Starts refined by the linear step and tried on the coarsest level.
    knobs : DeformableSettings
        Levels and their iterations.
    coarser : float
        Voxel size of the finest level relative to the finest working copies, as long as that leaves `FEWEST_VOXELS`.
    seats : bool
        Whether the map is then steered towards the places where labels were found one by one (`steer`).
    fewest : int
        Levels with fewer voxels along the shortest edge of either image are left out.
    narrow : Plan, optional
        What takes this one's place where the labels fill but a part of their image (`Focus.narrows`); its finest level
        is worked on around them alone.
    """

    starts: int
    knobs: DeformableSettings
    coarser: float = 1.0
    seats: bool = False
    fewest: int = 10
    narrow: Plan | None = None

    def spacing(self, fixed: Volume, moving: Volume) -> float:
        """Voxel size of the finest level in mm."""
        finest = working_spacing(fixed, moving)
        return min(self.coarser * finest, working_spacing(fixed, moving, FEWEST_VOXELS))

    def fitting(self, fixed: Volume, moving: Volume, spacing: float) -> DeformableSettings:
        """The knobs without the levels that are too coarse for the images, the finest having voxels of `spacing` mm."""
        shortest = float(min(fixed.grid.extent_mm.min(), moving.grid.extent_mm.min()))
        factors = enumerate(self.knobs.factors)
        return self.knobs.of([n for n, f in factors if f == 1 or shortest / (spacing * f) >= self.fewest])


_KNOBS = DeformableSettings(iterations=(100, 60, 15), edges=(0.0, 0.5, 0.5))
#: By quality.
PLANS = {
    "fast": Plan(
        2,
        DeformableSettings((4, 2, 1), (60, 30, 10), edges=(0.5, 0.5, 0.5), looked=FEW_LOOKED),
        coarser=1.55,
        # Its choice among starts is made on edges, of which voxels larger than that show too little.
        fewest=16,
        narrow=Plan(2, DeformableSettings((3, 1), (50, 15), edges=(0.5, 0.5), looked=FEW_LOOKED), coarser=1.3),
    ),
    "default": Plan(STARTS, _KNOBS),
    "best": Plan(STARTS, replace(_KNOBS, iterations=(100, 60, 40)), seats=True),
}
