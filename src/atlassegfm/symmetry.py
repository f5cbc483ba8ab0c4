"""The other side of the body as a second example: which labels of an atlas lie mirror-inverted opposite each other.

A head shows most of its structures twice. Once the atlas is registered to its own mirror image, every place of it has a
counterpart on the other side, and with it a label that was drawn there independently. Through the registration to the
query both sides are carried over; the registration with the mirror image is done once per atlas
(docs/decisions/0005-fusion.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import combinations

import numpy as np
from scipy import ndimage

from atlassegfm.atlas import Atlas
from atlassegfm.errors import RegistrationError
from atlassegfm.models.recall import Recall
from atlassegfm.registration.result import Progress, Settings
from atlassegfm.registration.transform import Transform, sides_exchanged
from atlassegfm.resampling import warp_labels
from atlassegfm.volume import Volume

#: Two labels may be counterparts if neither has more than so many times the other's volume.
SIMILAR = 2.0
#: The middle of the body may lie between two labels if so much of the way from one to the other leads left or right.
ACROSS = 0.9
#: Counterparts overlap at least so much (Dice) when one is carried onto the other.
MATCHING = 0.7
#: At least this share of the labels has to have a counterpart, or the body part is not a symmetric one.
MOST = 0.75


@dataclass(frozen=True, eq=False)
class Symmetry:
    """An atlas's counterparts.

    Parameters
    ----------
    across : Transform
        World points of the atlas to those that correspond to them on the other side, RAS+ mm.
    overlaps : dict of int to float
        Dice of each label that has a counterpart with that counterpart, carried onto it.
    partners : dict of int to int
        The counterpart of each; in the middle of the body the label itself. Empty where the atlas is not symmetric.
    """

    across: Transform = field(default_factory=Transform)
    overlaps: dict[int, float] = field(default_factory=dict)
    partners: dict[int, int] = field(default_factory=dict)


#: What was found of the last atlases.
_KNOWN: Recall[Symmetry] = Recall(4)


def symmetry_of(atlas: Atlas, seed: int, device: str, progress: Progress = lambda step, done: None) -> Symmetry:
    """The counterparts of an atlas's labels; looked for once per atlas and process.

    Parameters
    ----------
    atlas : Atlas
        The labelled scan.
    seed : int
        Seed of the registration.
    device : {"cpu", "cuda"}
        Where to compute.
    progress : callable
        Told (name of the step, finished fraction).
    """
    key = atlas.image.digest(), atlas.labels.digest(), seed, device
    return _KNOWN.of(key, lambda: _found(atlas, Settings(seed=seed, device=device, progress=progress)))


def may_be_symmetric(labels: Volume) -> bool:
    """Whether most labels have a possible counterpart by size and place, so that registering is worth the time.

    Parameters
    ----------
    labels : Volume
        Label map, 0 is background.
    """
    boxes = ndimage.find_objects(labels.data)
    measured = [_measured(labels, value, box) for value, box in enumerate(boxes, start=1) if box is not None]
    volumes, centres = (np.array(column) for column in zip(*measured, strict=True))
    similar = volumes <= SIMILAR * volumes[:, None]
    similar &= similar.T
    radii, labelled = np.cbrt(0.75 / np.pi * volumes), np.arange(len(volumes))
    for one, other in combinations(range(len(volumes)), 2):
        way = centres[other] - centres[one]
        length = np.linalg.norm(way)
        if similar[one, other] and abs(way[0]) >= ACROSS * length > 0.0:
            offset = (centres - (centres[one] + centres[other]) / 2) @ (way / length)
            opposite = centres - 2.0 * offset[:, None] * (way / length)
            apart = np.where(similar, np.linalg.norm(opposite[:, None] - centres, axis=-1), np.inf)
            best = apart.argmin(axis=1)
            if ((apart.min(axis=1) <= radii) & (best[best] == labelled)).mean() >= MOST:
                return True
    return False


def _measured(labels: Volume, value: int, box: tuple[slice, ...]) -> tuple[float, np.ndarray]:
    """Volume of a label in its box, mm^3, and its centre in the world, RAS+ mm."""
    here = np.argwhere(labels.data[box] == value) + [s.start for s in box]
    return len(here) * 1000.0 * labels.grid.voxel_volume_ml, labels.grid.to_world(here.mean(axis=0))


def _found(atlas: Atlas, settings: Settings) -> Symmetry:
    """The counterparts, by registering the atlas with its mirror image."""
    if not may_be_symmetric(atlas.labels):
        return Symmetry()
    # Imported late: torch.
    from atlassegfm.registration.focus import Focus
    from atlassegfm.registration.registry import register

    exchange = sides_exchanged(atlas.image.grid)
    image, labels = (Volume(side.data, exchange.moved(side.grid)) for side in (atlas.image, atlas.labels))
    told = replace(settings, options={"quality": "fast"}, focus=Focus.of(labels))
    try:
        forward = register(atlas.image, image, "default", told).transform
    except RegistrationError:
        # A body part that looks nothing like its mirror image.
        return Symmetry()
    across = forward.then(Transform((exchange,)))
    opposite = warp_labels(atlas.labels, atlas.image.grid, across)
    partners, overlaps = _matched(atlas.labels.data, opposite.data, np.array(atlas.values))
    return Symmetry(across, overlaps, partners) if len(partners) >= MOST * len(atlas.values) else Symmetry()


def _matched(labels: np.ndarray, opposite: np.ndarray, values: np.ndarray) -> tuple[dict[int, int], dict[int, float]]:
    """Labels that are each other's best match, with partner and Dice; `opposite` has what lies across each voxel."""
    number = len(values) + 1
    here, there = (np.searchsorted([0, *values], side.ravel()) for side in (labels, opposite))
    shared = np.bincount(here * number + there, minlength=number**2).reshape(number, number)
    overlaps = (2.0 * shared / np.maximum(shared.sum(axis=1)[:, None] + shared.sum(axis=0), 1))[1:, 1:]
    best = overlaps.argmax(axis=1)
    mutual = [n for n in range(len(values)) if best[best[n]] == n and overlaps[n, best[n]] >= MATCHING]
    partners = {int(values[n]): int(values[best[n]]) for n in mutual}
    return partners, {int(values[n]): float(overlaps[n, best[n]]) for n in mutual}
