"""How the deformable step works: its levels, their iterations and what the images are compared by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class DeformableSettings:
    """Knobs of the deformable step; lengths in voxels of the level.

    Parameters
    ----------
    factors, iterations : tuple of int
        Per level: size of its voxels in working voxels, and the most steps taken there.
    radius : int
        Half width of the correlation window.
    step : float
        Longest update vector of a step.
    smooth_update, smooth_field : float
        Gaussian standard deviations applied to the update and to the whole displacement.
    noise : float
        Variance added to both windows' variances (intensities in [0, 1]): flat windows say nothing.
    edges : tuple of float
        Per level: what the correlation of the images' edges counts, from 0 (that of the intensities alone) to 1.
    looks : tuple of (int, int)
        Of the discrete search, one after the other: how many voxels of the level become one along an axis, and the
        largest displacement along an axis in those.
    looked : int
        A look of the discrete search at more voxels than this is left out.
    both_ways : int
        So many levels, the coarsest first and the finest never, are registered there and back.
    """

    factors: tuple[int, ...] = (4, 2, 1)
    iterations: tuple[int, ...] = (100, 60, 20)
    radius: int = 2
    step: float = 1.0
    smooth_update: float = 2.0
    smooth_field: float = 0.5
    noise: float = 1e-5
    edges: tuple[float, ...] = (0.0, 0.0, 0.0)
    looks: tuple[tuple[int, int], ...] = ((2, 3), (1, 2))
    looked: int = 1_000_000
    both_ways: int = 2

    def of(self, levels: Sequence[int]) -> DeformableSettings:
        """The same for these of the levels."""
        per_level = ("factors", "iterations", "edges")
        return replace(self, **{name: tuple(getattr(self, name)[n] for n in levels) for name in per_level})
