"""Boosted trees for one label, and those of all labels of an atlas in a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from atlassegfm.models.store import UNREADABLE
from atlassegfm.runtime import side_by_side

TREES = 80
#: Parts of space that are held out in turn.
FOLDS = 2
#: Of what scikit-learn keeps in its trees, what skops does not know by itself; it holds arrays of numbers only.
TRUSTED = ["sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"]


@dataclass(frozen=True, eq=False)
class Forest:
    """What was learnt for one label.

    Parameters
    ----------
    reaches : dict of float to float
        By the size in mm of the priors' border errors, how far from the prior voxels are classified, in mm.
    block : float
        Edge in mm of the blocks of space that were held out together.
    whole : HistGradientBoostingClassifier or None
        None if there was nothing to tell apart.
    folds : tuple of HistGradientBoostingClassifier
        Each without one part of space (`block_fold`); empty if a part showed nothing to tell apart.
    """

    reaches: dict[float, float]
    block: float
    whole: HistGradientBoostingClassifier | None
    folds: tuple[HistGradientBoostingClassifier, ...]

    def settled(self, size: float) -> float:
        """The size that was taught which is next to an error in mm, by their ratio."""
        return min(self.reaches, key=lambda taught: abs(np.log(taught / size)))


def grown(seed: int, lessons: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[HistGradientBoostingClassifier]:
    """Trees for each lesson (rows, truths); lessons side by side, each on one thread.

    Growing is a great many small steps: two threads that wait for each other took 33 s where one took 19.
    """
    return side_by_side(lambda lesson: _trees(seed).fit(*lesson), lessons)


def predicted(trees: HistGradientBoostingClassifier, rows: np.ndarray) -> np.ndarray:
    """Probability of each row, float32."""
    return trees.predict_proba(rows)[:, 1].astype(np.float32) if len(rows) else np.zeros(0, dtype=np.float32)


def block_fold(index: np.ndarray, spacing: np.ndarray, size_mm: float) -> np.ndarray:
    """Fold number of voxels by the block of space they lie in, so that neighbours are held out together."""
    block = np.floor(index * spacing / size_mm).astype(np.int64)
    return (block @ np.array([1, 5, 7])) % FOLDS


def write_forests(forests: dict[int, Forest], path: Path) -> None:
    """Write what was learnt of all labels."""
    from skops import io

    told = {str(value): {**vars(forest), "reaches": list(forest.reaches.items())} for value, forest in forests.items()}
    io.dump(told, path, compression=ZIP_DEFLATED, compresslevel=1)


def read_forests(path: Path) -> dict[int, Forest] | None:
    """What `write_forests` wrote; None for a file that is missing or damaged, or holds something else."""
    from skops import io

    try:
        told: dict[str, dict[str, Any]] = io.load(path, trusted=TRUSTED)
        return {
            int(value): Forest(**{**parts, "reaches": dict(parts["reaches"]), "folds": tuple(parts["folds"])})
            for value, parts in told.items()
        }
    except UNREADABLE:
        # Learning again costs seconds; a damaged file must not cost the run.
        return None


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
