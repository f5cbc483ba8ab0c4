"""The built-in model: per label a boosted-tree classifier of voxels near the prior, taught by the atlas alone.

It learns from the atlas what the border of a label looks like when the prior is off by as much as registration is off,
and repeats that on the query. Away from the prior it has no say: there the prior stands.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier

from atlassegfm.errors import ModelError
from atlassegfm.models.base import SegmentationModel, Support, prompt_from_labels
from atlassegfm.models.features import (
    appearance_features,
    image_features,
    prior_features,
    rank_intensities,
    signed_distance,
)
from atlassegfm.models.hints import mask_of_prompt
from atlassegfm.models.lessons import DEEPEST, Lessons, border_error, depth, rounded, settled_errors
from atlassegfm.models.recall import Recall
from atlassegfm.prompts import THRESHOLD, Prompt
from atlassegfm.runtime import side_by_side
from atlassegfm.volume import Grid, Volume, bounding_box

#: Voxels per label and prior that the classifier learns from: at most so many, fewer where many labels share the time.
SAMPLES, SAMPLES_OF_ALL_LABELS, FEWEST_SAMPLES = 10_000, 160_000, 2_000
TREES = 80
FOLDS = 2
#: The band around the prior that is classified: this many times the 90th percentile of the prior's border error.
BAND = 2.0
#: Bounds of the reach in units of the cube root of the voxel volume.
REACH_BOUNDS = (1.5, 12.0)
#: Smoothing of the answer, same unit.
SMOOTHING = 0.6


@dataclass(frozen=True, eq=False)
class _Scene:
    """One image with the features that all labels and priors share, around where the labels may be."""

    labelled: np.ndarray
    box: tuple[slice, slice, slice]
    grid: Grid
    ranks: np.ndarray
    features: list[np.ndarray]

    @classmethod
    def around(cls, image: Volume, labelled: np.ndarray, reach: float) -> _Scene | None:
        """Look at `image` within `reach` mm of the voxels `labelled`; None when there are none."""
        spacing = image.spacing
        box = bounding_box(labelled, margin=np.ceil(2.5 * reach / spacing).astype(int))
        if box is None:
            return None
        ranks = rank_intensities(image.data[box], signed_distance(labelled[box], spacing) <= reach)
        # Half precision halves the largest thing in memory; ranks need three digits.
        features = [f.astype(np.float16) for f in image_features(ranks, spacing)]
        return cls(labelled[box].copy(), box, image.grid, ranks, features)

    def is_around(self, labelled: np.ndarray) -> bool:
        """Whether the look was `around` these voxels."""
        here = labelled[self.box]
        return np.count_nonzero(labelled) == np.count_nonzero(here) and np.array_equal(here, self.labelled)

    def view(self, mask: np.ndarray, rivals: np.ndarray, reach: float) -> _View | None:
        """Features of the voxels within `reach` of one label's prior; None when the prior is empty."""
        mask, rivals = mask[self.box], rivals[self.box]
        part = bounding_box(mask, margin=np.ceil(2.5 * reach / self.grid.spacing).astype(int))
        if part is None:
            return None
        own, others, ranks = mask[part], rivals[part], self.ranks[part]
        distance = signed_distance(own, self.grid.spacing)
        band = np.abs(distance) <= reach
        own_features = [
            *prior_features(distance, others, reach, self.grid.spacing),
            *appearance_features(ranks, distance, reach, self.grid.spacing),
        ]
        rows = np.stack([*(f[band] for f in own_features), *(f[part][band] for f in self.features)], axis=1)
        corner = np.array([outer.start + inner.start for outer, inner in zip(self.box, part, strict=True)])
        return _View(corner, band, distance, rows.astype(np.float32, copy=False))

    def probabilities(self, view: _View, values: np.ndarray) -> np.ndarray:
        """Probability on the image's grid: `values` in the band of the view, the prior elsewhere."""
        crop = (view.distance <= 0).astype(np.float32)
        crop[view.band] = values
        unit = float(np.prod(self.grid.spacing) ** (1.0 / 3.0))
        # Neighbouring voxels are judged apart from each other; a little smoothing lets them agree.
        crop = ndimage.gaussian_filter(crop, SMOOTHING * unit / self.grid.spacing, mode="nearest", truncate=3.0)
        out = np.zeros(self.grid.shape, dtype=np.float32)
        box = tuple(slice(c, c + n) for c, n in zip(view.corner, crop.shape, strict=True))
        out[box] = np.clip(crop, 0.0, 1.0)
        return out


@dataclass(frozen=True, eq=False)
class _View:
    """One prior's surroundings: corner of the crop, voxels to classify, distance to the prior, features (n, F)."""

    corner: np.ndarray
    band: np.ndarray
    distance: np.ndarray
    rows: np.ndarray

    def index(self) -> np.ndarray:
        """Voxel indices (n, 3) of the rows on the image's grid."""
        return np.argwhere(self.band) + self.corner


@dataclass(frozen=True, eq=False)
class _Classifier:
    """What was learnt for one label."""

    reach: float
    whole: HistGradientBoostingClassifier | None
    folds: tuple[HistGradientBoostingClassifier, ...]


#: A label's trees take about a megabyte.
_recall: Recall[_Classifier] = Recall(256)


def _trees(seed: int) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(
        max_iter=TREES,
        learning_rate=0.1,
        max_leaf_nodes=31,
        min_samples_leaf=60,
        l2_regularization=1.0,
        max_features=0.5,
        early_stopping=False,
        random_state=seed,
    )


def _grown(seed: int, lessons: list[tuple[np.ndarray, np.ndarray]]) -> list[HistGradientBoostingClassifier]:
    """Trees for each lesson (rows, truths); lessons side by side, each on one thread.

    Growing is a great many small steps: two threads that wait for each other took 33 s where one took 19.
    """
    return side_by_side(lambda lesson: _trees(seed).fit(*lesson), lessons)


def _block_fold(index: np.ndarray, spacing: np.ndarray, size_mm: float) -> np.ndarray:
    """Fold number of voxels by the block of space they lie in, so that neighbours are held out together."""
    block = np.floor(index * spacing / size_mm).astype(np.int64)
    return (block @ np.array([1, 5, 7])) % FOLDS


class VoxelwiseModel(SegmentationModel):
    """Boosted trees on image and prior features, one classifier per label (see the module's docstring)."""

    def __init__(self, *, device: str = "cpu", seed: int = 0) -> None:
        self.seed = seed
        self._classifiers: dict[int, _Classifier] = {}
        self._learnt: dict[int, Hashable] = {}
        self._size_ml: dict[int, float] = {}
        self._samples = SAMPLES
        self._image: Volume | None = None
        self._scene: _Scene | None = None

    @property
    def _widest(self) -> float:
        return max(c.reach for c in self._classifiers.values())

    def customise(self, support: Support) -> dict[str, Any]:
        """Learn every label from the atlas and random displacements of its labels, or recall what was learnt.

        What is learnt depends on the atlas, the seed and the size of the errors on the round trip, rounded to powers of
        two: most queries of a cohort share it, and none depends on which query came first.
        """
        grid, truth = support.image.grid, support.truth.data
        self._samples = max(FEWEST_SAMPLES, min(SAMPLES, SAMPLES_OF_ALL_LABELS // len(support.values)))
        self._size_ml = {v: np.count_nonzero(truth == v) * grid.voxel_volume_ml for v in support.values}
        unit = grid.voxel_edge_mm
        errors, hints = self._errors(support, unit)
        reaches = {
            v: float(np.clip(BAND * e, REACH_BOUNDS[0] * unit, REACH_BOUNDS[1] * unit)) for v, e in hints.items()
        }
        lessons, widest = Lessons(support.truth, unit, self.seed), max(reaches.values())
        everywhere = cache(lambda: _Scene.around(support.image, truth > 0, widest))

        def learn(value: int) -> _Classifier:
            mask = truth == value
            scene = everywhere() if support.kind == "mask" else _Scene.around(support.image, mask, widest)
            prompts = [prompt_from_labels(p, value, support.kind) for p in lessons.priors(errors[value])]
            return self._learn(scene, prompts, mask, reaches[value], np.random.default_rng([self.seed, value]))

        atlas = *support.digests, support.kind, self.seed, widest
        self._learnt = {value: (*atlas, value, errors[value], reach) for value, reach in reaches.items()}
        self._classifiers = {value: _recall.of(key, partial(learn, value)) for value, key in self._learnt.items()}
        return {
            # Trees have no numbers that are learnt by descent; their count says how large the model has become.
            "learnable_parameters": None,
            "trees": sum(c.whole.n_iter_ for c in self._classifiers.values() if c.whole is not None),
            "prior_border_error_mm": {str(v): round(e, 3) for v, e in errors.items()},
            "reach_mm": {str(v): round(r, 3) for v, r in reaches.items()},
        }

    def identity(self, value: int) -> Hashable | None:
        """What the label's trees were grown from; None before `customise`."""
        return self._learnt.get(value)

    def _errors(self, support: Support, unit: float) -> tuple[dict[int, float], dict[int, float]]:
        """Per label by how many mm the borders of its prior are off, and those of what the kind of prompt tells."""
        limits = {v: DEEPEST * depth(support.truth.data == v, support.image.spacing) for v in support.values}

        def measured(kind: str) -> dict[int, float]:
            found = {v: self._border_error(support, v, kind) for v in support.values}
            return {v: rounded(e, unit) for v, e in settled_errors(found, limits, unit).items()}

        errors = measured("mask")
        return errors, errors if support.kind == "mask" else measured(support.kind)

    def _border_error(self, support: Support, value: int, kind: str) -> float:
        """Border error in mm of what a prompt of this kind stands for; 0 for a label that the prior lost."""
        prompt = prompt_from_labels(support.priors, value, kind)
        if prompt is None:
            return 0.0
        mask, _ = self._masks(prompt, support.image.grid)
        return border_error(mask, support.truth.data == value, support.image.spacing)

    def _masks(self, prompt: Prompt, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """(the label's assumed mask, the other labels' masks); only a mask prompt tells of other labels."""
        mask = mask_of_prompt(prompt, grid, self._size_ml[prompt.value])
        return mask, prompt.rivals >= THRESHOLD if prompt.kind == "mask" else np.zeros_like(mask)

    def _learn(
        self, scene: _Scene, prompts: list[Prompt | None], truth: np.ndarray, reach: float, rng: np.random.Generator
    ) -> _Classifier:
        rows, truths, folds = [], [], []

        for prompt in prompts:
            view = None if prompt is None else scene.view(*self._masks(prompt, scene.grid), reach)
            if view is None or not len(view.rows):
                continue
            index = view.index()
            chosen = np.sort(rng.choice(len(index), size=min(self._samples, len(index)), replace=False))
            rows.append(view.rows[chosen])
            truths.append(truth[tuple(index[chosen].T)])
            folds.append(_block_fold(index[chosen], scene.grid.spacing, 2.0 * reach))
        if not rows:
            return _Classifier(reach, None, ())
        x, y, fold = np.concatenate(rows), np.concatenate(truths), np.concatenate(folds)
        if y.all() or not y.any():
            return _Classifier(reach, None, ())
        parts = [(x[fold != k], y[fold != k]) for k in range(FOLDS)]
        honest = all(p[1].any() and not p[1].all() for p in parts)
        whole, *folds = _grown(self.seed, [(x, y), *(parts if honest else ())])
        return _Classifier(reach, whole, tuple(folds))

    def set_image(self, image: Volume) -> None:
        """Keep the image; its features are computed once for all prompts that show the same labels."""
        if image is not self._image:
            self._image, self._scene = image, None

    def segment(self, prompt: Prompt) -> np.ndarray:
        """Foreground probability of the prompt's label, float32, on the image's grid."""
        classifier, view = self._prepared(prompt)
        if view is None or classifier.whole is None:
            return self._masks(prompt, self._image.grid)[0].astype(np.float32)
        return self._scene.probabilities(view, _predict(classifier.whole, view.rows))

    def segment_support(self, support: Support, value: int) -> np.ndarray:
        """As `segment` on the atlas, each voxel judged by trees that did not learn from its part of space."""
        self.set_image(support.image)
        prompt = support.prompt(value)
        if prompt is None:
            return np.zeros(support.image.grid.shape, dtype=np.float32)
        classifier, view = self._prepared(prompt)
        if view is None or not classifier.folds:
            return self._masks(prompt, self._image.grid)[0].astype(np.float32)
        fold = _block_fold(view.index(), support.image.spacing, 2.0 * classifier.reach)
        values = np.zeros(len(fold), dtype=np.float32)
        for k, trees in enumerate(classifier.folds):
            values[fold == k] = _predict(trees, view.rows[fold == k])
        return self._scene.probabilities(view, values)

    def _prepared(self, prompt: Prompt) -> tuple[_Classifier, _View | None]:
        """The label's classifier and the features around the prompt."""
        if self._image is None:
            raise ModelError("set_image has to come before segment")
        if prompt.value not in self._classifiers:
            raise ModelError(f"the built-in model was not taught label {prompt.value}: call customise first")
        classifier = self._classifiers[prompt.value]
        mask, rivals = self._masks(prompt, self._image.grid)
        # A mask prompt shows all labels, so that one look serves them all; other prompts show their own label only.
        if self._scene is None or not self._scene.is_around(mask | rivals):
            self._scene = _Scene.around(self._image, mask | rivals, self._widest)
        return classifier, self._scene.view(mask, rivals, classifier.reach)


def _predict(trees: HistGradientBoostingClassifier, rows: np.ndarray) -> np.ndarray:
    return trees.predict_proba(rows)[:, 1].astype(np.float32) if len(rows) else np.zeros(0, dtype=np.float32)
