"""Kalman-like fusion, Eq. 4-5 of "Atlas is Your Perfect Context" (arXiv 2512.18176).

``M = M_fm + K (M_atlas - M_fm)`` (Eq. 4) with the gain ``K = sigmoid(g([M_atlas, M_fm]))`` per voxel (Eq. 5), where g
mixes 3D max-poolings with kernels 3, 5 and 7 of both maps by learnable weights and a bias: seven numbers in all. They
are trained with the soft Dice loss against the support's label.

The pooled maps do not change while training, and voxels on which both maps agree do not feel the gain. So the pooled
values are gathered once, at the voxels of disagreement only, and the gradient is analytic: no autograd, no torch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, logit

from atlassegfm.fusion.base import THRESHOLD, Example, Fusion, Habit, edges_gain, fused_dice, inputs_dice
from atlassegfm.fusion.soft import TAU_MM
from atlassegfm.overlap import dice

#: Kernels of the poolings, in voxels, as in the paper.
KERNELS = (3, 5, 7)
#: Both maps count as equal where they differ by less than this.
EQUAL = 1e-3
#: More voxels than this are sampled down (by seed): seven numbers need no more.
MAX_VOXELS = 100_000
#: A weight for each pooling of each map, and the bias.
PARAMETERS = 2 * len(KERNELS) + 1
#: The paper gives rate and steps; its starting values it does not, so the gain starts at one half in both kinds.
SETTINGS = {"kalman": {"rate": 0.1, "steps": 100}, "kalman-paper": {"rate": 1e-5, "steps": 100}}
#: Ours softens bare contours first; the paper's takes the maps as they come.
TAU = {"kalman": TAU_MM, "kalman-paper": None}
#: Constant gains tried when what was learnt is worse than one of the two maps alone.
CONSTANTS = tuple(np.linspace(0.0, 1.0, 11).tolist())
#: Edges of the image are followed unless that costs more Dice than this on the support, where the model, which knows
#: that very image, has less to gain from them than on a query (docs/decisions/0005-fusion.md).
EDGES_COST = 0.04
#: A gain of exactly 0 or 1 is stored as the sigmoid of minus or plus this.
LOGIT_LIMIT = 30.0


def max_pools(values: np.ndarray) -> Iterator[np.ndarray]:
    """Maxima over windows of 3, 5 and 7 voxels, stride 1, the array's edge cutting the window.

    A window of 5 is a window of 3 over windows of 3, and each is separable, so each costs six comparisons per voxel.
    """
    current = values
    for _ in KERNELS:
        for axis in range(3):
            before = np.moveaxis(current, axis, 0)
            current = current.copy()
            after = np.moveaxis(current, axis, 0)
            np.maximum(after[1:], before[:-1], out=after[1:])
            np.maximum(after[:-1], before[1:], out=after[:-1])
        yield current


class KalmanFusion(Fusion):
    """A gain per voxel out of the maxima of both maps nearby.

    Parameters
    ----------
    weights : numpy.ndarray, shape (2, 3)
        Of the pooled M_atlas (first row) and the pooled M_fm, kernels 3, 5, 7.
    bias : float
        Added to the mix.
    facts : dict, optional
        What to tell in the report.
    """

    def __init__(self, weights: np.ndarray, bias: float, facts: dict[str, Any] | None = None) -> None:
        self.weights = np.asarray(weights, dtype=np.float32).reshape(2, len(KERNELS))
        self.bias = float(bias)
        self.facts = facts or {}

    @classmethod
    def constant(cls, gain: float, facts: dict[str, Any] | None = None) -> KalmanFusion:
        """The same gain everywhere."""
        return cls(np.zeros((2, len(KERNELS))), float(np.clip(logit(gain), -LOGIT_LIMIT, LOGIT_LIMIT)), facts)

    def gain(self, m_atlas: np.ndarray, m_fm: np.ndarray) -> np.ndarray:
        """K of Eq. 5, float32 in [0, 1], shape of the maps."""
        mix = np.full(m_atlas.shape, self.bias, dtype=np.float32)
        for row, values in zip(self.weights, (m_atlas, m_fm), strict=True):
            if row.any():
                for weight, pooled in zip(row, max_pools(values), strict=True):
                    mix += weight * pooled
        return expit(mix, out=mix)

    def _fuse(
        self, m_atlas: np.ndarray, m_fm: np.ndarray, image: np.ndarray, spacing: tuple[float, float, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        gain = self.gain(m_atlas, m_fm)
        return m_fm + gain * (m_atlas - m_fm), gain


@dataclass(frozen=True, eq=False)
class _Table:
    """One example reduced to the voxels that feel the gain."""

    features: np.ndarray  # (7, n): pooled M_atlas, pooled M_fm, one
    m_fm: np.ndarray  # (n,)
    difference: np.ndarray  # (n,), M_atlas - M_fm
    truth: np.ndarray  # (n,), 0 or 1
    weight: float  # voxels that each row stands for
    overlap: float  # sum of M * truth over the voxels left out
    total: float  # sum of M over the voxels left out, plus the sum of truth over all

    @classmethod
    def of(cls, example: Example, rng: np.random.Generator) -> _Table:
        difference = (example.m_atlas - example.m_fm).ravel()
        feels = np.abs(difference) > EQUAL
        rows = np.flatnonzero(feels)
        weight = max(1.0, rows.size / MAX_VOXELS)
        if weight > 1.0:
            rows = np.sort(rng.choice(rows, MAX_VOXELS, replace=False))
        features = np.ones((PARAMETERS, rows.size), dtype=np.float32)
        for first, values in ((0, example.m_atlas), (len(KERNELS), example.m_fm)):
            for n, pooled in enumerate(max_pools(values)):
                features[first + n] = pooled.ravel()[rows]
        m_fm, truth = example.m_fm.ravel(), example.truth.ravel()
        rest = m_fm[~feels].astype(np.float64)
        return cls(
            features,
            m_fm[rows],
            difference[rows],
            truth[rows].astype(np.float32),
            weight,
            float(rest @ truth[~feels]),
            float(rest.sum()) + float(truth.sum()),
        )

    def loss(self, parameters: np.ndarray) -> tuple[float, np.ndarray, float]:
        """Soft Dice loss 1 - 2 sum(M t) / (sum M + sum t), its gradient (7,), and the mean gain."""
        # einsum, not @: products this thin gain nothing from BLAS's threads, which on busy cores cost a hundredfold.
        gain = expit(np.einsum("kn,k->n", self.features, parameters.astype(np.float32)))
        fused = self.m_fm + gain * self.difference
        overlap = self.overlap + self.weight * float(fused @ self.truth)
        total = max(self.total + self.weight * float(fused.sum(dtype=np.float64)), 1e-6)
        by_fused = self.weight * (2.0 * overlap / total**2 - 2.0 * self.truth / total)
        by_mix = (by_fused * self.difference * gain * (1.0 - gain)).astype(np.float32)
        mean_gain = float(gain.mean()) if gain.size else 0.5
        return 1.0 - 2.0 * overlap / total, np.einsum("kn,n->k", self.features, by_mix).astype(np.float64), mean_gain


def _mean_loss(tables: Sequence[_Table], parameters: np.ndarray) -> tuple[float, np.ndarray, float]:
    losses, gradients, gains = zip(*(t.loss(parameters) for t in tables), strict=True)
    return float(np.mean(losses)), np.mean(gradients, axis=0), float(np.mean(gains))


def _adam(tables: Sequence[_Table], rate: float, steps: int) -> np.ndarray:
    """Parameters (7,) after `steps` of Adam from zero (Kingma & Ba, arXiv 1412.6980, Algorithm 1)."""
    parameters = np.zeros(PARAMETERS)
    first, second = np.zeros_like(parameters), np.zeros_like(parameters)
    for step in range(1, steps + 1):
        gradient = _mean_loss(tables, parameters)[1]
        first += 0.1 * (gradient - first)
        second += 0.001 * (gradient**2 - second)
        unbiased = first / (1 - 0.9**step), second / (1 - 0.999**step)
        parameters -= rate * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    return parameters


def best_constant(examples: Sequence[Example], facts: dict[str, Any]) -> tuple[KalmanFusion, float]:
    """The constant gain with the best mean Dice on the support, and that Dice; ties go to the gain nearest one half."""
    scores = {}
    for gain in CONSTANTS:
        fused = [(e.m_fm + np.float32(gain) * (e.m_atlas - e.m_fm)) >= THRESHOLD for e in examples]
        scores[gain] = float(np.mean([dice(f, e.truth) for f, e in zip(fused, examples, strict=True)]))
    gain = max(scores, key=lambda g: (round(scores[g], 9), -abs(g - 0.5)))
    return KalmanFusion.constant(gain, {**facts, "chosen": "constant", "gain": gain}), scores[gain]


def safeguarded(
    fusion: Fusion,
    score: float,
    examples: Sequence[Example],
    soft: Sequence[Example],
    alone: dict[str, float],
    facts: dict[str, Any],
) -> tuple[Fusion, float]:
    """What was learnt, if it is fit to be let loose on a query, else a constant gain; and its Dice on the support.

    Whether it follows the image's edges (`Fusion.edges`) is settled here too; that Dice is the one before.

    Parameters
    ----------
    fusion, score : Fusion, float
        What was learnt, and its Dice on the support.
    examples, soft : sequences of Example
        The lessons, as they are and softened.
    alone : dict
        From `base.inputs_dice`.
    facts : dict
        What to tell of a fusion that takes the place of the learnt one.
    """
    missed = any(not (e.truth & (e.m_fm >= THRESHOLD)).any() for e in examples)
    lost = missed and alone["model"] < alone["atlas"]
    if lost:
        # The model misses the label even on the atlas. Nothing learnt there says when to follow it on a query.
        fusion, score = KalmanFusion.constant(1.0, {**facts, "chosen": "constant", "gain": 1.0}), alone["atlas"]
    elif score < max(alone.values()):
        fusion, score = best_constant(soft, facts)
    fusion.tau_mm, fusion.habit = TAU_MM, Habit.of(examples)
    if not lost:
        gain = edges_gain(fusion, examples)
        fusion.edges = gain > -EDGES_COST
        fusion.facts |= {"edges_gain": gain, "edges_followed": fusion.edges}
    return fusion, score


def fit_kalman(examples: Sequence[Example], seed: int = 0, kind: str = "kalman") -> KalmanFusion:
    """Learn the gain of one label on the support.

    Safeguards of the kind "kalman": where the learnt gain is worse on the support than one of the two maps alone, the
    best constant gain takes its place (that of the atlas where the model misses the label on the support), and a model
    that loses the label on the query is not followed (`Fusion.apply`). "kalman-paper" is left as the paper has it.

    Parameters
    ----------
    examples : sequence of Example
        Lessons; those without a true voxel teach nothing and are left out.
    seed : int
        Seed of the voxel sample of very large labels.
    kind : {"kalman", "kalman-paper"}
        See `SETTINGS`.
    """
    examples = [e for e in examples if e.truth.any()]
    facts: dict[str, Any] = {"kind": kind, "learnable_parameters": PARAMETERS, "lessons": len(examples)}
    if not examples:
        return KalmanFusion.constant(0.5, {**facts, "chosen": "constant", "gain": 0.5})
    soft = [e.softened(TAU[kind]) for e in examples]
    rng = np.random.default_rng(seed)
    tables = [_Table.of(e, rng) for e in soft]
    parameters = _adam(tables, **SETTINGS[kind])
    after = _mean_loss(tables, parameters)
    facts |= {"loss_before": _mean_loss(tables, np.zeros_like(parameters))[0], "loss_after": after[0]}
    fusion = KalmanFusion(parameters[:-1], parameters[-1], {**facts, "chosen": "learnt", "gain": after[2]})
    alone, score = inputs_dice(examples), fused_dice(fusion, soft)
    if kind == "kalman":
        fusion, score = safeguarded(fusion, score, examples, soft, alone, facts)
    fusion.facts |= {
        "support_dice": {**alone, "fused": score},
        "weights_atlas": fusion.weights[0].tolist(),
        "weights_model": fusion.weights[1].tolist(),
        "bias": fusion.bias,
    }
    return fusion
