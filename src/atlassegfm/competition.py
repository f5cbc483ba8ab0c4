"""Several labels want the same voxel: the largest probability wins, background included."""

from __future__ import annotations

import numpy as np

#: Dice that a good result reaches; see `favouring_dice`.
EXPECTED_DICE = 0.8


def smallest_label_type(largest: int) -> np.dtype:
    """Smallest unsigned integer type that holds label values up to `largest`."""
    return np.min_scalar_type(max(int(largest), 1))


def favouring_dice(probability: np.ndarray, expected_dice: float = EXPECTED_DICE) -> np.ndarray:
    """Probability with its odds scaled so that one half is where the mask of the highest expected Dice ends.

    A voxel belongs into the mask of the highest expected Dice D when its probability exceeds D / 2 (Lipton, Elkan,
    Naryanaswamy, "Optimal thresholding of classifiers to maximize F1 measure", ECML 2014, Theorem 1). Deciding at one
    half instead shrinks thin labels wherever the model is unsure. Hard masks stay what they are.

    Parameters
    ----------
    probability : numpy.ndarray
        In [0, 1].
    expected_dice : float
        In (0, 1]; 1 changes nothing.

    Returns
    -------
    numpy.ndarray
        float32 in [0, 1], same shape.
    """
    return _odds_scaled(probability, np.float32(expected_dice / 2.0))


def unfavoured(probability: np.ndarray, expected_dice: float = EXPECTED_DICE) -> np.ndarray:
    """The probability that `favouring_dice` was given, float32 in [0, 1], from what it returned."""
    return _odds_scaled(probability, np.float32(1.0 - expected_dice / 2.0))


def _odds_scaled(probability: np.ndarray, threshold: np.float32) -> np.ndarray:
    """Odds multiplied by a constant such that `threshold` becomes one half."""
    scaled = probability * (1 - threshold)
    return (scaled / (scaled + threshold * (1 - probability))).astype(np.float32, copy=False)


class LabelCompetition:
    """Running arg-max over labels, so that one label's probability at a time is in memory.

    Background has the probability that the labels leave over, 1 - sum, and wins ties; between labels the lowest value
    wins them, in whatever order they come.

    Parameters
    ----------
    shape : tuple of int
        Shape of the grid.
    dtype : numpy.dtype
        Integer type of the label map.
    """

    def __init__(self, shape: tuple[int, int, int], dtype: np.dtype) -> None:
        self._labels = np.zeros(shape, dtype=dtype)
        self._best = np.zeros(shape, dtype=np.float32)
        self._total = np.zeros(shape, dtype=np.float32)
        self._highest = 0

    def add(self, value: int, probability: np.ndarray, box: tuple[slice, ...] = (slice(None),) * 3) -> None:
        """Enter one label's probability, float32, on the part `box` of the grid."""
        self._total[box] += probability
        best = self._best[box]
        wins = probability > best
        if value < self._highest:
            wins |= (probability == best) & (value < self._labels[box])
        self._highest = max(self._highest, value)
        self._best[box][wins] = probability[wins]
        self._labels[box][wins] = value

    def result(self) -> np.ndarray:
        """The label map so far."""
        return np.where(1.0 - self._total >= self._best, self._labels.dtype.type(0), self._labels)
