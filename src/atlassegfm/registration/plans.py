"""How much work the built-in registration puts in, by quality; measured in docs/decisions/0002-registration.md."""

from __future__ import annotations

from dataclasses import dataclass, replace

from atlassegfm.registration.copies import working_spacing
from atlassegfm.registration.focus import Focus
from atlassegfm.registration.grids import shortest_edge
from atlassegfm.registration.knobs import DeformableSettings
from atlassegfm.volume import Volume

#: Starts refined by the linear step.
STARTS = 4
#: Starts that the surroundings of the labels propose.
AIMED = 2
#: A finest level is made coarser for speed as long as it keeps so many voxels.
FEWEST_VOXELS = 250_000
#: A search for large displacements looks at no more voxels than this where time counts.
FEW_LOOKED = 200_000
#: The same where the labels fill but a part of the image.
MORE_LOOKED = 450_000
#: Levels with fewer voxels along the shortest edge of either image are left out.
FEWEST = 10
#: Labels whose surroundings fill less than this share of their image leave time for finer voxels around them.
NARROW = 0.48
#: Images of which the coarsest level has fewer voxels along the shortest edge are flat: its choice among starts is made
#: on edges, of which so few voxels show too little.
FLAT = 16


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
    piece : bool
        Whether the finest level is worked on around the labels alone (`piece`).
    aimed : int
        Starts found on the surroundings of the labels alone that are tried beside these, where the surroundings are but
        a part of their image.
    narrow, flat : Plan, optional
        What takes this one's place where the labels fill but a part of their image (`NARROW`), and for flat images
        (`FLAT`).
    """

    starts: int
    knobs: DeformableSettings
    coarser: float = 1.0
    seats: bool = False
    piece: bool = False
    aimed: int = 0
    narrow: Plan | None = None
    flat: Plan | None = None

    def suited(self, fixed: Volume, moving: Volume, focus: Focus | None) -> Plan:
        """The plan for a pair of images and the labels of one of them: itself, or what takes its place."""
        plan = self
        if self.narrow is not None and focus is not None and focus.share((fixed, moving)) < NARROW:
            plan = self.narrow
        coarsest = plan.spacing(fixed, moving) * plan.knobs.factors[0]
        return self.flat if self.flat is not None and shortest_edge(fixed, moving) < FLAT * coarsest else plan

    def spacing(self, fixed: Volume, moving: Volume) -> float:
        """Voxel size of the finest level in mm."""
        finest = working_spacing(fixed, moving)
        return min(self.coarser * finest, working_spacing(fixed, moving, FEWEST_VOXELS))

    def fitting(self, fixed: Volume, moving: Volume) -> DeformableSettings:
        """The knobs without the levels that are too coarse for the images."""
        most = shortest_edge(fixed, moving) / (FEWEST * self.spacing(fixed, moving))
        return self.knobs.of([n for n, f in enumerate(self.knobs.factors) if f == 1 or f <= most])


_KNOBS = DeformableSettings(iterations=(100, 60, 15), edges=(0.0, 0.5, 0.5))
_QUICK = DeformableSettings(iterations=(60, 20, 10), edges=(0.5, 0.5, 0.5), looked=FEW_LOOKED)
_NEAR = replace(_QUICK, looked=MORE_LOOKED, both_ways=1)
_TWO_LEVELS = replace(_QUICK, factors=(3, 1), iterations=(10, 15), edges=(0.5, 0.5))
#: By quality.
PLANS = {
    "fast": Plan(
        2,
        _QUICK,
        coarser=1.55,
        piece=True,
        narrow=Plan(2, _NEAR, coarser=1.3, piece=True),
        flat=Plan(4, _TWO_LEVELS, coarser=1.25, piece=True),
    ),
    "default": Plan(STARTS, _KNOBS, aimed=AIMED),
    "best": Plan(STARTS, replace(_KNOBS, iterations=(100, 60, 40)), seats=True, aimed=AIMED),
}
