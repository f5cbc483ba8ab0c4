"""The built-in model: per label a boosted-tree classifier of voxels near the prior, taught by the atlas alone.

It learns from the atlas what the border of a label looks like when the prior is off by as much as registration may be
off, and repeats that on the query. Away from the prior it has no say: there the prior stands.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import sklearn

from atlassegfm.errors import ModelError
from atlassegfm.models.base import SegmentationModel, Support, prompt_from_labels
from atlassegfm.models.border_errors import border_error
from atlassegfm.models.forest import FOLDS, Forest, block_fold, grown, predicted, read_forests, write_forests
from atlassegfm.models.hints import mask_of_prompt
from atlassegfm.models.lessons import Lessons
from atlassegfm.models.recall import Recall
from atlassegfm.models.scene import Scene, View
from atlassegfm.models.store import Kind, Store, cache_folder, content_key
from atlassegfm.prompts import THRESHOLD, Prompt
from atlassegfm.runtime import side_by_side
from atlassegfm.volume import Grid, Volume

#: Voxels that a label's classifier learns from: at most so many, fewer where many labels share the time.
SAMPLES, SAMPLES_OF_ALL_LABELS, FEWEST_SAMPLES = 50_000, 800_000, 10_000
#: The band around the prior that is classified: this many times the 90th percentile of the prior's border error.
BAND = 2.0
#: Bounds of the reach in units of the cube root of the voxel volume.
REACH_BOUNDS = (1.5, 12.0)
#: Intensities are ranked this far around the labels, as part of their usual depth.
NEAR = 0.8

#: Forests of all labels of an atlas; a label's take about a megabyte.
FORESTS: Kind[dict[int, Forest]] = Kind(".skops", read_forests, write_forests, Recall(256, len))
#: Rows, truths and folds of voxels to learn from.
Rows = tuple[np.ndarray, np.ndarray, np.ndarray]


class VoxelwiseModel(SegmentationModel):
    """Boosted trees on image and prior features, one classifier per label (see the module's docstring).

    Parameters
    ----------
    device : {"cpu", "cuda"}
        Trees know the CPU only.
    seed : int
        Seed of what is learnt.
    cache : path, optional
        Folder for what was learnt; `store.cache_folder` if None.
    """

    lasting = True

    def __init__(self, *, device: str = "cpu", seed: int = 0, cache: str | Path | None = None) -> None:
        self.seed = seed
        self._store = Store(FORESTS, cache_folder() if cache is None else Path(cache))
        self._forests: dict[int, Forest] = {}
        #: By label, the size of its prior's error on the query, one of those that its trees were taught.
        self._told: dict[int, float] = {}
        self._size_ml: dict[int, float] = {}
        self._near = 0.0
        self._learnt: str | None = None
        self._image: Volume | None = None
        self._scene: Scene | None = None

    def customise(self, support: Support) -> dict[str, Any]:
        """Learn every label from the atlas and random displacements of its labels, or find what was learnt.

        What is learnt depends on the atlas, the kind of prompt and the seed. How much the priors err on the round trip
        is told when trees are asked.
        """
        grid, truth = support.image.grid, support.truth.data
        self._size_ml = {v: np.count_nonzero(truth == v) * grid.voxel_volume_ml for v in support.values}
        self._near = NEAR * float(np.median(list(support.depths.values())))
        self._scene = None
        self._learnt = content_key(support.digests, ["trees", sklearn.__version__, support.kind, self.seed])
        found = self._store.find(self._learnt)
        self._forests = self._store.keep(self._learnt, self._learn_all(support)) if found is None else found
        self._told = {v: self._forests[v].settled(error) for v, error in support.errors.items()}
        return {
            # Trees have no numbers that are learnt by descent; their count says how large the model has become.
            "learnable_parameters": None,
            "trees": sum(f.whole.n_iter_ for f in self._forests.values() if f.whole is not None),
            "prior_border_error_mm": {str(v): round(e, 3) for v, e in self._told.items()},
            "reach_mm": {str(v): round(self._forests[v].reaches[e], 3) for v, e in self._told.items()},
        }

    def identity(self, value: int) -> Hashable | None:
        """The name of what was learnt; None before `customise`."""
        return self._learnt

    def _learn_all(self, support: Support) -> dict[int, Forest]:
        lessons, truth = Lessons(support.truth, self.seed), support.truth.data
        most = max(FEWEST_SAMPLES, min(SAMPLES, SAMPLES_OF_ALL_LABELS // len(support.values)))
        everywhere = cache(lambda: Scene.around(support.image, truth > 0, self._near))

        def learn(value: int) -> Forest:
            mask = truth == value
            scene = everywhere() if support.kind == "mask" else Scene.around(support.image, mask, self._near)
            prompts = {}
            for size in lessons.sizes(support.depths[value]):
                found = (prompt_from_labels(p, value, support.kind) for p in lessons.priors(size))
                prompts[size] = [p for p in found if p is not None]
            reaches = {s: self._reach(p, s, support, value) for s, p in prompts.items()}
            return self._learn(scene, prompts, mask, reaches, most)

        return {value: learn(value) for value in support.values}

    def _reach(self, given: list[Prompt], size: float, support: Support, value: int) -> float:
        """How far from what prompts of one size of error stand for the border may lie, in mm."""
        grid = support.image.grid
        if given and support.kind != "mask":
            truth = support.truth.data == value
            errors = [border_error(self._masks(p, grid)[0], truth, grid.spacing) for p in given]
            size = max(size, min(float(np.median(errors)), support.limits[value]))
        return float(np.clip(BAND * size, *(bound * grid.voxel_edge_mm for bound in REACH_BOUNDS)))

    def _masks(self, prompt: Prompt, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
        """(the label's assumed mask, the other labels' masks); only a mask prompt tells of other labels."""
        mask = mask_of_prompt(prompt, grid, self._size_ml[prompt.value])
        return mask, prompt.rivals >= THRESHOLD if prompt.kind == "mask" else np.zeros_like(mask)

    def _learn(
        self,
        scene: Scene,
        prompts: dict[float, list[Prompt]],
        truth: np.ndarray,
        reaches: dict[float, float],
        most: int,
    ) -> Forest:
        """One label's forest from prompts of all sizes of errors."""
        block = 2.0 * float(np.median(list(reaches.values())))
        given = [(size, prompt) for size, some in prompts.items() for prompt in some]
        share = most // max(1, len(given))

        def lesson(number: int) -> Rows | None:
            size, prompt = given[number]
            view = scene.view(*self._masks(prompt, scene.grid), reaches[size], size)
            if view is None or not len(view.rows):
                return None
            index, rng = view.index(), np.random.default_rng([self.seed, prompt.value, number])
            chosen = np.sort(rng.choice(len(index), size=min(share, len(index)), replace=False))
            index = index[chosen]
            return view.rows[chosen], truth[tuple(index.T)], block_fold(index, scene.grid.spacing, block)

        found = [rows for rows in side_by_side(lesson, range(len(given))) if rows is not None]
        if not found:
            return Forest(reaches, block, None, ())
        x, y, fold = (np.concatenate(parts) for parts in zip(*found, strict=True))
        if y.all() or not y.any():
            return Forest(reaches, block, None, ())
        parts = [(x[fold != k], y[fold != k]) for k in range(FOLDS)]
        honest = all(p[1].any() and not p[1].all() for p in parts)
        whole, *folds = grown(self.seed, [(x, y), *(parts if honest else ())])
        return Forest(reaches, block, whole, tuple(folds))

    def set_image(self, image: Volume) -> None:
        """Keep the image; its features are computed once for all prompts that show the same labels."""
        if image is not self._image:
            self._image, self._scene = image, None

    def segment(self, prompt: Prompt) -> np.ndarray:
        """Foreground probability of the prompt's label, float32, on the image's grid."""
        forest, view = self._prepared(prompt, self._told)
        if view is None or forest.whole is None:
            return self._masks(prompt, self._image.grid)[0].astype(np.float32)
        return self._scene.probabilities(view, predicted(forest.whole, view.rows))

    def segment_support(self, support: Support, value: int) -> np.ndarray:
        """As `segment` on the atlas, each voxel judged by trees that did not learn from its part of space.

        The trees are told of the errors of these priors, whatever `customise` was told.
        """
        self.set_image(support.image)
        prompt = support.prompt(value)
        if prompt is None:
            return np.zeros(support.image.grid.shape, dtype=np.float32)
        forest, view = self._prepared(prompt, support.errors)
        if view is None or not forest.folds:
            return self._masks(prompt, self._image.grid)[0].astype(np.float32)
        fold = block_fold(view.index(), support.image.spacing, forest.block)
        values = np.zeros(len(fold), dtype=np.float32)
        for k, trees in enumerate(forest.folds):
            values[fold == k] = predicted(trees, view.rows[fold == k])
        return self._scene.probabilities(view, values)

    def _prepared(self, prompt: Prompt, errors: Mapping[int, float]) -> tuple[Forest, View | None]:
        """The label's forest and the features around the prompt."""
        if self._image is None:
            raise ModelError("set_image has to come before segment")
        if prompt.value not in self._forests:
            raise ModelError(f"the built-in model was not taught label {prompt.value}: call customise first")
        forest = self._forests[prompt.value]
        size = forest.settled(errors[prompt.value])
        mask, rivals = self._masks(prompt, self._image.grid)
        # A mask prompt shows all labels, so that one look serves them all; other prompts show their own label only.
        if self._scene is None or not self._scene.is_around(mask | rivals):
            self._scene = Scene.around(self._image, mask | rivals, self._near)
        return forest, self._scene.view(mask, rivals, forest.reaches[size], size)
