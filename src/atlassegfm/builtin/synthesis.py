"""Training samples from numbers alone: sample i of a seed is always the same, whoever asks and in whatever order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from atlassegfm.builtin.anatomy import Layout, random_layout
from atlassegfm.builtin.encoding import encode
from atlassegfm.builtin.imaging import random_image
from atlassegfm.builtin.priors import corrupted, random_kind
from atlassegfm.prompts import Box, Point

#: Edge of a scene and of the patch that is cut out of it, voxels.
SCENE, PATCH = 64, 48
#: Fewest and most voxels of a label, the latter as a part of the scene.
SMALLEST, LARGEST = 40, 0.5
#: What the network is given, and how often.
PROMPTS = {
    ("mask",): 0.62,
    ("mask", "click"): 0.08,
    ("mask", "box"): 0.08,
    ("click",): 0.08,
    ("box",): 0.08,
    ("click", "box"): 0.06,
}
#: First words of the seeds of the training and of the validation scenes.
TRAINING, VALIDATION = 0, 1


@dataclass(frozen=True, eq=False)
class Sample:
    """One label of one scene.

    Attributes
    ----------
    inputs : numpy.ndarray, float32, shape (C, n, n, n)
        As `encoding.encode` makes them.
    truth : numpy.ndarray of bool, shape (n, n, n)
        The label.
    kind : str
        The error of the prior, or the prompt where there is no mask.
    """

    inputs: np.ndarray
    truth: np.ndarray
    kind: str


class Scene:
    """A layout and its image, from which samples are drawn one after the other.

    Parameters
    ----------
    seed : sequence of int
        Words of the seed.
    size : int
        Edge in voxels.
    """

    def __init__(self, seed: tuple[int, ...], size: int = SCENE) -> None:
        self.rng = np.random.default_rng(seed)
        self.layout: Layout = random_layout(self.rng, size)
        self.image, self.seen = random_image(self.rng, self.layout.regions)
        counts = np.bincount(self.layout.regions[self.seen], minlength=1)
        sizes = [sum(int(counts[r]) for r in o if r < len(counts)) for o in self.layout.objects]
        self.objects = [
            o for o, n in zip(self.layout.objects, sizes, strict=True) if SMALLEST <= n <= LARGEST * size**3
        ]

    def sample(self, *, kind: str | None = None, prompts: tuple[str, ...] | None = None, patch: int = PATCH) -> Sample:
        """One label with a corrupted prior and prompts on a patch around it.

        Parameters
        ----------
        kind : str, optional
            Error of the prior out of `priors.KINDS`; drawn if None.
        prompts : tuple of str, optional
            What the network is given, a key of `PROMPTS`; drawn if None.
        patch : int
            Edge of the patch in voxels.
        """
        rng = self.rng
        prompts = prompts or list(PROMPTS)[rng.choice(len(PROMPTS), p=list(PROMPTS.values()))]
        truth, rivals, neighbour = self._label(whole="mask" not in prompts)
        kind = kind or random_kind(rng)
        prior, rival_prior = corrupted(rng, truth, rivals, neighbour, kind)
        if kind == "empty" and prompts == ("mask",):
            # Nothing asked, nothing to answer.
            truth = np.zeros_like(truth)
        pointed = truth if rng.random() < 0.5 or not prior.any() else prior
        point = _click(rng, pointed) if "click" in prompts else None
        box = _loose_box(rng, pointed) if "box" in prompts else None
        if "mask" not in prompts:
            prior = rival_prior = np.zeros_like(truth)
            kind = "+".join(prompts)
        image = self.image * np.float32(np.exp(rng.normal(0.0, 0.1)))
        part = _patch(rng, truth | prior if (truth | prior).any() else neighbour | rivals, patch)
        inputs = encode(image, prior, rival_prior, point, box)
        return Sample(np.ascontiguousarray(inputs[(slice(None), *part)]), truth[part].copy(), kind)

    def _label(self, whole: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(label, other labels, something that touches it); the label may be cut where the image shows no border."""
        rng, regions = self.rng, self.layout.regions
        if not self.objects:
            empty = np.zeros(regions.shape, dtype=bool)
            return empty, empty, empty
        chosen = self.objects[rng.integers(len(self.objects))]
        label = np.isin(regions, chosen) & self.seen
        others = np.setdiff1d(np.arange(1, int(regions.max()) + 1), chosen)
        touching = _touching(label, regions)
        named = rng.random(len(others)) < rng.uniform(0.0, 1.0)
        rivals = np.isin(regions, others[named]) & self.seen
        neighbour = np.zeros_like(label) if not len(touching) else regions == touching[rng.integers(len(touching))]
        if not whole and rng.random() < 0.18:
            label, rest = _cut(rng, label)
            if rng.random() < 0.7:
                rivals = rivals | rest
        return label, rivals, neighbour


def batch(seed: int, number: int, scenes: int, per_scene: int, patch: int = PATCH) -> tuple[np.ndarray, np.ndarray]:
    """Training batch `number` of a seed.

    Returns
    -------
    inputs : numpy.ndarray, float32, shape (scenes * per_scene, C, n, n, n)
    truth : numpy.ndarray, float32, shape (scenes * per_scene, 1, n, n, n)
    """
    samples = []
    for index in range(scenes):
        scene = Scene((TRAINING, seed, number * scenes + index))
        samples += [scene.sample(patch=patch) for _ in range(per_scene)]
    truth = np.stack([s.truth for s in samples])[:, None].astype(np.float32)
    return np.stack([s.inputs for s in samples]), truth


def validation_samples(count: int, patch: int = PATCH) -> list[Sample]:
    """`count` samples for each kind of prior error and of maskless prompt; the same for every training."""
    asked = [(k, ("mask",)) for k in ("perfect", "displaced", "resized", "missing", "neighbour", "empty")]
    asked += [("perfect", ("click",)), ("perfect", ("box",))]
    out = []
    for row, (kind, prompts) in enumerate(asked):
        number = 0
        while number < count:
            scene = Scene((VALIDATION, row, number, len(out)))
            out.append(scene.sample(kind=kind, prompts=prompts, patch=patch))
            number += 1
    return out


def _touching(label: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Regions next to the label, each as often as it touches; empty where there are none."""
    found = []
    for axis in range(3):
        for step in (1, -1):
            beside = np.roll(label, step, axis=axis) & ~label
            found.append(regions[beside])
    touching = np.concatenate(found)
    return touching[touching > 0]


def _cut(rng: np.random.Generator, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split the label where no image border is: (the larger part or the smaller, the rest)."""
    voxels = np.argwhere(label)
    through = voxels[rng.integers(len(voxels))]
    normal = rng.normal(size=3)
    axes = [np.arange(n, dtype=np.float32) - t for n, t in zip(label.shape, through, strict=True)]
    side = sum(
        normal[a] / np.linalg.norm(normal) * axes[a].reshape([-1 if b == a else 1 for b in range(3)]) for a in range(3)
    )
    half = label & (side > 0)
    if np.count_nonzero(half) * 4 < len(voxels):
        half = label & ~half
    return half, label & ~half


def _click(rng: np.random.Generator, mask: np.ndarray) -> Point | None:
    """A voxel of the mask, the deeper of a few; None for an empty mask."""
    voxels = np.argwhere(mask)
    if not len(voxels):
        return None
    few = voxels[rng.integers(len(voxels), size=8)]
    centre = voxels.mean(axis=0)
    return tuple(int(v) for v in few[np.linalg.norm(few - centre, axis=1).argmin()])


def _loose_box(rng: np.random.Generator, mask: np.ndarray) -> Box | None:
    """The box around the mask, each face off by up to two voxels and a tenth of the edge."""
    voxels = np.argwhere(mask)
    if not len(voxels):
        return None
    low, high = voxels.min(axis=0), voxels.max(axis=0) + 1
    slack = 1.0 + 0.05 * (high - low)
    low = np.round(low - slack * rng.uniform(-1.0, 2.0, 3)).astype(int)
    high = np.maximum(np.round(high + slack * rng.uniform(-1.0, 2.0, 3)).astype(int), low + 1)
    return tuple((int(a), int(b)) for a, b in zip(low, high, strict=True))


def _patch(rng: np.random.Generator, around: np.ndarray, edge: int) -> tuple[slice, ...]:
    """A cube near a random voxel of `around`, anywhere if there is none, inside the scene."""
    voxels = np.argwhere(around)
    centre = voxels[rng.integers(len(voxels))] if len(voxels) else np.array(around.shape) // 2
    jitter = rng.integers(-edge // 4, edge // 4 + 1, size=3)
    low = np.clip(centre + jitter - edge // 2, 0, np.array(around.shape) - edge)
    return tuple(slice(int(a), int(a) + edge) for a in low)
