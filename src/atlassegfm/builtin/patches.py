"""Patches to learn from: what the network is told of each label in a part of a lesson, and what it should answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from atlassegfm.builtin.augment import Lesson
from atlassegfm.builtin.encoding import encode
from atlassegfm.builtin.priors import corrupted
from atlassegfm.builtin.refine import MARGIN, padded, tile_edges
from atlassegfm.models.hints import mask_of_prompt
from atlassegfm.prompts import make_prompt
from atlassegfm.volume import Grid, bounding_box

#: Errors added to some priors after the displacement that all labels share, and how often.
EXTRA_KINDS = {"resized": 0.1, "missing": 0.06, "neighbour": 0.06}
#: Root mean square displacement that comes with them, voxels.
EXTRA_SEVERITY = 0.5
#: A label with fewer voxels of truth and prior in a patch is not asked for there.
FEWEST_VOXELS = 8


@dataclass(frozen=True)
class Asking:
    """How labels are asked for.

    Attributes
    ----------
    sizes : tuple of float
        Volume of labels 1 to L in the atlas, voxels of the working copy.
    kind : {"mask", "click", "box", "box2d"}
        Kind of prompt.
    axis : int
        Slice axis of the scan, for box2d.
    """

    sizes: tuple[float, ...]
    kind: str = "mask"
    axis: int = 2

    @property
    def labels(self) -> int:
        """Number of labels."""
        return len(self.sizes)


@dataclass(frozen=True, eq=False)
class Patch:
    """Labels that share a patch: rows (N,), inputs (N, C, i, j, k), truth (i, j, k) as place in rows + 1, else 0."""

    rows: torch.Tensor
    inputs: torch.Tensor
    truth: torch.Tensor


def draw_patch(rng: np.random.Generator, lesson: Lesson, asking: Asking, most: int) -> Patch | None:
    """A patch around a voxel of a random label, with what the network is told of at most `most` labels there.

    None when the prior of the lesson has no label within the patch.
    """
    labels = asking.labels
    box = _place(rng, lesson, int(rng.integers(labels)) + 1)
    truth, prior = lesson.truth[box], lesson.prior[box]
    told = np.bincount(prior.ravel(), minlength=labels + 1)
    count = told + np.bincount(truth.ravel(), minlength=labels + 1)
    present = [v for v in range(1, labels + 1) if told[v] and count[v] >= FEWEST_VOXELS]
    if not present:
        return None
    chosen = np.sort(rng.choice(present, size=min(most, len(present)), replace=False))
    edges = tile_edges(lesson.truth.shape)
    inputs = np.stack([_inputs(rng, lesson, int(v), asking, box) for v in chosen])
    places = np.zeros(labels + 1, dtype=np.int64)
    places[chosen] = np.arange(len(chosen)) + 1
    target = padded(places[truth], edges)
    return Patch(torch.from_numpy(chosen - 1), torch.from_numpy(padded(inputs, edges)), torch.from_numpy(target))


def _place(rng: np.random.Generator, lesson: Lesson, value: int) -> tuple[slice, ...]:
    """A box of the patch's size, or of the lesson's where that is smaller, near a voxel where label and prior are."""
    shape = lesson.truth.shape
    voxels = np.flatnonzero((lesson.truth == value) | (lesson.prior == value))
    centre = np.array(shape) // 2
    if len(voxels):
        centre = np.array(np.unravel_index(voxels[rng.integers(len(voxels))], shape))
    edges = np.minimum(tile_edges(shape), shape)
    low = np.clip(centre + rng.integers(-edges // 4, edges // 4 + 1) - edges // 2, 0, np.array(shape) - edges)
    return tuple(slice(int(a), int(a + e)) for a, e in zip(low, edges, strict=True))


def _inputs(rng: np.random.Generator, lesson: Lesson, value: int, asking: Asking, box: tuple[slice, ...]) -> np.ndarray:
    """Channels (C, i, j, k) of one label in a patch, encoded on a crop around its prior as in use."""
    around = bounding_box(lesson.prior == value, margin=MARGIN)
    crop = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(around, box, strict=True))
    own, rivals = _spoilt(rng, lesson.prior[crop], value)
    point = hull = None
    if asking.kind != "mask":
        # Only the slice axis of a 2D box asks how long a voxel is.
        longer = np.where(np.arange(4) == asking.axis, 1.0 + (asking.kind == "box2d"), 1.0)
        grid = Grid(own.shape, np.diag(longer))
        prompt = make_prompt(asking.kind, own, grid, value)
        own = mask_of_prompt(prompt, Grid(own.shape, np.eye(4)), asking.sizes[value - 1] / 1000.0)
        rivals = np.zeros_like(own)
        point, hull = (prompt.point, None) if prompt.kind == "click" else (None, prompt.box)
    part = tuple(slice(b.start - c.start, b.stop - c.start) for b, c in zip(box, crop, strict=True))
    return encode(lesson.image[crop], own, rivals, point, hull)[(slice(None), *part)]


def _spoilt(rng: np.random.Generator, prior: np.ndarray, value: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks of a label and of its rivals in the prior, now and then with an error more (see `priors.corrupted`)."""
    own = prior == value
    rivals = (prior != 0) & ~own
    kind = str(rng.choice([*EXTRA_KINDS, ""], p=[*EXTRA_KINDS.values(), 1.0 - sum(EXTRA_KINDS.values())]))
    if not kind:
        return own, rivals
    others = np.unique(prior[rivals])
    neighbour = prior == rng.choice(others) if len(others) else np.zeros_like(own)
    spoilt = corrupted(rng, own, rivals, neighbour, kind, EXTRA_SEVERITY)
    return spoilt if spoilt[0].any() else (own, rivals)
