"""The built-in model: per label a boosted-tree classifier of voxels near the prior, taught by the atlas alone.

It learns from the atlas what the border of a label looks like when the prior is off by as much as registration is off,
and repeats that on the query. Away from the prior it has no say: there the prior stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier

from atlassegfm.errors import ModelError
from atlassegfm.models.base import SegmentationModel, Support
from atlassegfm.models.corruption import displaced_labels
from atlassegfm.models.features import (
    appearance_features,
    image_features,
    prior_features,
    rank_intensities,
    signed_distance,
)
from atlassegfm.prompts import Prompt
from atlassegfm.volume import Volume, bounding_box

#: Displacement amplitudes of the synthetic priors, relative to the measured error of the registration.
AMPLITUDES = (0.7, 1.0, 1.0, 1.4)
#: Voxels per label and prior that the classifier learns from, at most.
SAMPLES = 15_000
TREES = 80
FOLDS = 3
#: The band around the prior that is classified: this many times the 90th percentile of the prior's border error.
BAND = 2.0
#: Bounds of the reach in units of the cube root of the voxel volume.
REACH_BOUNDS = (1.5, 12.0)


@dataclass(frozen=True, eq=False)
class _View:
    """One label's surroundings: features of the voxels in the band, and how to put answers back."""

    box: tuple[slice, slice, slice]
    band: np.ndarray
    distance: np.ndarray
    rows: np.ndarray

    def probabilities(self, values: np.ndarray, shape: tuple[int, int, int], spacing: np.ndarray) -> np.ndarray:
        """Probability on the whole grid: `values` in the band, the prior elsewhere."""
        crop = (self.distance <= 0).astype(np.float32)
        crop[self.band] = values
        unit = float(np.prod(spacing) ** (1.0 / 3.0))
        # Neighbouring voxels are judged apart from each other; a little smoothing lets them agree.
        crop = ndimage.gaussian_filter(crop, SMOOTHING * unit / spacing, mode="nearest", truncate=3.0)
        out = np.zeros(shape, dtype=np.float32)
        out[self.box] = np.clip(crop, 0.0, 1.0)
        return out


SMOOTHING = 0.6


def _view(image: Volume, mask: np.ndarray, rivals: np.ndarray, reach: float) -> _View | None:
    """Features around a prior; None when the prior is empty."""
    spacing = image.spacing
    box = bounding_box(mask, margin=np.ceil(3.0 * reach / spacing).astype(int))
    if box is None:
        return None
    crop, own, others = image.data[box], mask[box], rivals[box]
    distance = signed_distance(own, spacing)
    ranks = rank_intensities(crop, signed_distance(own | others, spacing) <= reach)
    band = np.abs(distance) <= reach
    features = [
        *prior_features(own, others, reach, spacing),
        *image_features(ranks, spacing),
        *appearance_features(ranks, distance, reach, spacing),
    ]
    return _View(box, band, distance, np.stack([f[band] for f in features], axis=1).astype(np.float32))


def border_error(prior: np.ndarray, truth: np.ndarray, spacing: np.ndarray) -> float:
    """90th percentile of the distance in mm from the true border to the prior's border; 0 if either is empty."""
    if not prior.any() or not truth.any():
        return 0.0
    box = bounding_box(prior | truth, margin=2)
    truth, prior = truth[box], prior[box]
    border = truth & ~ndimage.binary_erosion(truth, border_value=1)
    return float(np.percentile(np.abs(signed_distance(prior, spacing))[border], 90))


@dataclass(frozen=True, eq=False)
class _Classifier:
    """What was learnt for one label."""

    reach: float
    whole: HistGradientBoostingClassifier | None
    folds: tuple[HistGradientBoostingClassifier, ...]


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


def _block_fold(index: np.ndarray, spacing: np.ndarray, size_mm: float) -> np.ndarray:
    """Fold number of voxels by the block of space they lie in, so that neighbours are held out together."""
    block = np.floor(index * spacing / size_mm).astype(np.int64)
    return (block @ np.array([1, 5, 7])) % FOLDS


class VoxelwiseModel(SegmentationModel):
    """Boosted trees on image and prior features, one classifier per label (see the module's docstring)."""

    def __init__(self, *, device: str = "cpu", seed: int = 0) -> None:
        self.seed = seed
        self._classifiers: dict[int, _Classifier] = {}
        self._image: Volume | None = None

    def customise(self, support: Support) -> dict[str, Any]:
        """Learn every label from the atlas, its round-trip prior and random displacements of its labels."""
        rng = np.random.default_rng(self.seed)
        spacing = support.image.spacing
        unit = float(np.prod(spacing) ** (1.0 / 3.0))
        errors = {v: border_error(support.priors.data == v, support.truth.data == v, spacing) for v in support.values}
        typical = float(np.median([e for e in errors.values() if e > 0] or [2.0 * unit]))
        amplitude = max(typical, 0.5 * unit)
        priors = [support.priors, *(displaced_labels(support.truth, a * amplitude, rng) for a in AMPLITUDES)]
        for value in support.values:
            reach = float(np.clip(BAND * max(errors[value], typical), REACH_BOUNDS[0] * unit, REACH_BOUNDS[1] * unit))
            self._classifiers[value] = self._learn(support, priors, value, reach, rng)
        return {"prior_border_error_mm": {str(v): round(e, 3) for v, e in errors.items()}}

    def _learn(
        self, support: Support, priors: list[Volume], value: int, reach: float, rng: np.random.Generator
    ) -> _Classifier:
        rows, truths, folds = [], [], []
        truth = support.truth.data == value
        for prior in priors:
            mask = prior.data == value
            view = _view(support.image, mask, (prior.data > 0) & ~mask, reach)
            if view is None:
                continue
            index = np.argwhere(view.band) + [s.start for s in view.box]
            chosen = rng.choice(len(index), size=min(SAMPLES, len(index)), replace=False)
            chosen.sort()
            rows.append(view.rows[chosen])
            truths.append(truth[tuple(index[chosen].T)])
            folds.append(_block_fold(index[chosen], support.image.spacing, 2.0 * reach))
        if not rows:
            return _Classifier(reach, None, ())
        x, y, fold = np.concatenate(rows), np.concatenate(truths), np.concatenate(folds)
        if y.all() or not y.any():
            return _Classifier(reach, None, ())
        whole = _trees(self.seed).fit(x, y)
        parts = [(x[fold != k], y[fold != k]) for k in range(FOLDS)]
        if any(not p[1].any() or p[1].all() for p in parts):
            return _Classifier(reach, whole, ())
        return _Classifier(reach, whole, tuple(_trees(self.seed).fit(*p) for p in parts))

    def set_image(self, image: Volume) -> None:
        """Keep the image; features are computed around each prompt."""
        self._image = image

    def _classifier(self, value: int) -> _Classifier:
        if value not in self._classifiers:
            raise ModelError(f"the built-in model was not taught label {value}: call customise with an atlas first")
        return self._classifiers[value]

    def segment(self, prompt: Prompt) -> np.ndarray:
        """Foreground probability of the prompt's label, float32, on the image's grid."""
        classifier = self._classifier(prompt.value)
        view = self._view_of(prompt, classifier.reach)
        if view is None or classifier.whole is None:
            return prompt.mask.astype(np.float32)
        values = classifier.whole.predict_proba(view.rows)[:, 1] if len(view.rows) else np.zeros(0)
        return view.probabilities(values, self._image.grid.shape, self._image.spacing)

    def segment_support(self, support: Support, value: int) -> np.ndarray:
        """As `segment` on the atlas, each voxel judged by trees that did not learn from its part of space."""
        self.set_image(support.image)
        prompt = support.prompt(value)
        classifier = self._classifier(value)
        if prompt is None:
            return np.zeros(support.image.grid.shape, dtype=np.float32)
        view = self._view_of(prompt, classifier.reach)
        if view is None or not classifier.folds:
            return prompt.mask.astype(np.float32)
        index = np.argwhere(view.band) + [s.start for s in view.box]
        fold = _block_fold(index, support.image.spacing, 2.0 * classifier.reach)
        values = np.zeros(len(index), dtype=np.float32)
        for k, trees in enumerate(classifier.folds):
            if (fold == k).any():
                values[fold == k] = trees.predict_proba(view.rows[fold == k])[:, 1]
        return view.probabilities(values, support.image.grid.shape, support.image.spacing)

    def _view_of(self, prompt: Prompt, reach: float) -> _View | None:
        if self._image is None:
            raise ModelError("set_image has to come before segment")
        return _view(self._image, prompt.mask >= 0.5, prompt.rivals >= 0.5, reach)
