"""The alignment where it matters: affine candidates moved rigidly to fit the surroundings of the atlas's labels.

One affine map cannot fit arms, spine and heart at once. Labels are to be carried, so theirs is the part it should fit;
what is left elsewhere is bent right by the deformable step. Their scales and shears stay: a small part says too little
about these (docs/decisions/0002-registration.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np

from atlassegfm.registration.grids import around, working_copy
from atlassegfm.registration.linear import Fit, LinearProblem, distinct, optimise
from atlassegfm.runtime import side_by_side
from atlassegfm.volume import Volume, bounding_box

#: How far the surroundings reach beyond the labels' box.
MARGIN_MM = 15.0
#: Voxels along the longest edge of the part that is compared.
VOXELS = 32
#: The most along the longest edge of the other image, which stays whole.
MOST_VOXELS = 96
#: Labels whose surroundings fill more than this share of the atlas need no focus: the whole image is theirs.
WHOLE = 0.33

Pair = tuple[Volume, Volume]


@dataclass(frozen=True)
class Focus:
    """What an alignment is for: the box around the labels of one of the two images.

    Parameters
    ----------
    corners : tuple of eight points
        In that image's world, RAS+ mm.
    on_fixed : bool
        Whether that image is the fixed one; else the moving one.
    labels : Volume, optional
        The labels themselves on their image's own grid, others 0.
    """

    corners: tuple[tuple[float, float, float], ...]
    on_fixed: bool = False
    labels: Volume | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, labels: Volume, values: Sequence[int] | None = None, *, on_fixed: bool = False) -> Focus | None:
        """The box around these values of a label map, or all that are not 0; None when none of them occurs."""
        if values is not None:
            labels = labels.keeping(values)
        box = bounding_box(labels.data)
        if box is None:
            return None
        ends = [(s.start - 0.5, s.stop - 0.5) for s in box]
        points = labels.grid.to_world(np.array(list(product(*ends))))
        return cls(tuple(tuple(point) for point in np.round(points, 4).tolist()), on_fixed, labels)

    def exchanged(self) -> Focus:
        """The same for the registration the other way round."""
        return replace(self, on_fixed=not self.on_fixed)

    def parts(self, pair: Pair) -> Pair:
        """Fixed and moving working copy, the one that has the labels cut down to their surroundings."""
        fixed, moving = pair
        points = np.array(self.corners)
        return (_part(fixed, points), moving) if self.on_fixed else (fixed, _part(moving, points))

    def share(self, pair: Pair) -> float:
        """The share of their image that the labels' surroundings fill."""
        image = pair[0] if self.on_fixed else pair[1]
        return _part(image, np.array(self.corners)).grid.size / image.grid.size

    def narrows(self, pair: Pair) -> bool:
        """Whether the labels' surroundings are but a part of their image."""
        return self.share(pair) < WHOLE


def refine(matrices: Sequence[np.ndarray], pair: Pair, focus: Focus) -> list[Fit]:
    """Alignments of the whole images, moved rigidly on the surroundings of the labels and scored there.

    Parameters
    ----------
    matrices : sequence of numpy.ndarray, shape (4, 4)
        Fixed to moving world points, RAS+ mm; at least one.
    pair : (Volume, Volume)
        Fixed and moving working copy, intensities scaled to [0, 1].
    focus : Focus
        Where it matters.
    """
    parts = focus.parts(pair)
    labelled, other = (float(parts[n].grid.extent_mm.max()) for n in ((0, 1) if focus.on_fixed else (1, 0)))
    spacing = max(labelled / VOXELS, other / MOST_VOXELS, float(pair[0].spacing[0]))
    problem = LinearProblem(*(working_copy(part, spacing) for part in parts))
    fits = side_by_side(lambda matrix: optimise(problem, matrix, 6), matrices)
    # Where the parts hardly meet, the alignment stays what it is.
    return distinct(pair[0].grid, [fit if fit.score > -1.0 else Fit(fit.matrix, 0.0) for fit in fits])


def _part(image: Volume, points: np.ndarray) -> Volume:
    """The image within `MARGIN_MM` of the box that the world points (N, 3) span along its axes; never empty."""
    return around(image, points, MARGIN_MM / image.spacing)
