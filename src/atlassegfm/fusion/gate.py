"""Gated fusion: a small convolutional network decides voxel by voxel whom to follow.

``out = sigmoid(z_fm + g (z_atlas - z_fm))`` with logits z and the gate g in [0, 1], after the later code of the authors
of "Atlas is Your Perfect Context" (arXiv 2512.18176). The gate sees the image, both logits, their difference, the
disagreement of the probabilities and both entropies. Two things are trained at once: the soft Dice of the result, and,
where exactly one of the two maps is right, the gate itself (cross-entropy towards the one that is right).

Ours is narrower than theirs, so that it learns in seconds on two cores: one layer of 3x3x3 convolutions with dilation 1
and, beside it, 3; then two layers of 1x1x1. It is trained on a sample of the voxels where both maps differ, from the
values under the taps of the convolutions, which is the same network evaluated at those voxels only.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from atlassegfm.fusion.base import THRESHOLD, Example, Fusion, fused_dice, inputs_dice
from atlassegfm.fusion.kalman import KalmanFusion, safeguarded
from atlassegfm.fusion.soft import TAU_MM
from atlassegfm.runtime import one_thread

EPOCHS = 30
RATE = 3e-3
WEIGHT_DECAY = 1e-3
BATCH = 512
#: Voxels a lesson is sampled down to.
MAX_VOXELS = 10_000
#: The gate is trained where the probabilities differ by more than this.
DIFFERENT = 0.05
#: Probabilities are kept this far from 0 and 1 before taking logits.
LOGIT_CLIP = 0.01
#: Voxels convolved at a time, which bounds the memory.
SLAB_VOXELS = 400_000
CHANNELS, WIDTH = 7, 8
DILATIONS = (1, 3)
HALO = max(DILATIONS)


class GateNetwork(nn.Module):
    """Logit of the gate; starts at zero everywhere, that is g = 1/2."""

    def __init__(self) -> None:
        super().__init__()
        self.taps = nn.ModuleList(nn.Conv3d(CHANNELS, WIDTH, 3, dilation=d) for d in DILATIONS)
        self.mix = nn.Linear(WIDTH * len(DILATIONS), WIDTH * len(DILATIONS))
        self.head = nn.Linear(WIDTH * len(DILATIONS), 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def _decide(self, hidden: torch.Tensor) -> torch.Tensor:
        """(..., channels) to (...)."""
        return self.head(functional.relu(self.mix(functional.relu(hidden))))[..., 0]

    def at_voxels(self, taps: torch.Tensor) -> torch.Tensor:
        """Gate logits (n,) from the values under the taps, (n, dilations, channels, 27)."""
        hidden = [
            functional.linear(taps[:, n].flatten(1), conv.weight.flatten(1), conv.bias)
            for n, conv in enumerate(self.taps)
        ]
        return self._decide(torch.cat(hidden, dim=1))

    def forward(self, channels: torch.Tensor) -> torch.Tensor:
        """Gate logits (I, J, K) from channels (C, I + 2 HALO, J + 2 HALO, K + 2 HALO)."""
        hidden = []
        for conv, dilation in zip(self.taps, DILATIONS, strict=True):
            cut = HALO - dilation
            inner = channels[:, cut : channels.shape[1] - cut, cut : channels.shape[2] - cut]
            hidden.append(conv(inner[None, ..., cut : channels.shape[3] - cut])[0])
        return self._decide(torch.cat(hidden).movedim(0, -1))


def _logit(p: np.ndarray) -> np.ndarray:
    p = np.clip(p, LOGIT_CLIP, 1.0 - LOGIT_CLIP)
    return np.log(p / (1.0 - p))


def _entropy(p: np.ndarray) -> np.ndarray:
    """Binary entropy in bits."""
    p = np.clip(p, 1e-6, 1.0 - 1e-6)
    return -(p * np.log2(p) + (1.0 - p) * np.log2(1.0 - p))


def image_scale(m_atlas: np.ndarray, m_fm: np.ndarray, image: np.ndarray) -> tuple[float, float]:
    """Zero and unit of the image channel: the median of the voxels both maps claim, and the crop's spread.

    Scanners differ in gain and offset, the label's own median does not. Where the maps share no voxel, all that
    either claims is taken.
    """
    a, f = m_atlas >= THRESHOLD, m_fm >= THRESHOLD
    claimed = image[a & f] if (a & f).any() else image[a | f]
    low, high = np.percentile(image, (10, 90))
    spread = max(float(high - low) / 2.56, 1e-6 * max(1.0, float(np.abs(image).max())))
    return (float(np.median(claimed)) if claimed.size else 0.0), spread


def gate_channels(m_atlas: np.ndarray, m_fm: np.ndarray, image: np.ndarray, scale: tuple[float, float]) -> np.ndarray:
    """Input of the gate (7, I, J, K) float32: image, logits, difference, disagreement, entropies, all of order one."""
    top = float(_logit(np.array(1.0)))
    z_atlas, z_fm = _logit(m_atlas) / top, _logit(m_fm) / top
    tidy = np.clip((image - scale[0]) / scale[1], -5.0, 5.0)
    maps = [tidy, z_atlas, z_fm, (z_atlas - z_fm) / 2, np.abs(m_atlas - m_fm), _entropy(m_atlas), _entropy(m_fm)]
    return np.stack(maps).astype(np.float32)


class GateFusion(Fusion):
    """A trained `GateNetwork`."""

    def __init__(self, network: GateNetwork, facts: dict[str, Any] | None = None) -> None:
        self.network = network.eval()
        self.facts = facts or {}

    def _fuse(
        self, m_atlas: np.ndarray, m_fm: np.ndarray, image: np.ndarray, spacing: tuple[float, float, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        gate = self.gate(m_atlas, m_fm, image)
        z_fm = _logit(m_fm)
        fused = z_fm + gate * (_logit(m_atlas) - z_fm)
        fused = 1.0 / (1.0 + np.exp(-fused))
        # The clipped logits leave a floor of LOGIT_CLIP; where both maps say zero the result is zero.
        return np.where((m_atlas < LOGIT_CLIP) & (m_fm < LOGIT_CLIP), 0.0, fused).astype(np.float32), gate

    def gate(self, m_atlas: np.ndarray, m_fm: np.ndarray, image: np.ndarray) -> np.ndarray:
        """The gate g, float32 in [0, 1], shape of the maps; 1 follows the atlas."""
        scale = image_scale(m_atlas, m_fm, image)
        padded = [np.pad(x, HALO, mode="edge") for x in (m_atlas, m_fm, image)]
        out = np.empty(m_atlas.shape, dtype=np.float32)
        thick = max(1, SLAB_VOXELS // (out.shape[1] * out.shape[2]))
        with torch.inference_mode():
            for start in range(0, out.shape[0], thick):
                stop = min(out.shape[0], start + thick)
                slab = [x[start : stop + 2 * HALO] for x in padded]
                channels = torch.from_numpy(gate_channels(*slab, scale))
                out[start:stop] = torch.sigmoid(self.network(channels)).numpy()
        return out


def _lesson(example: Example, rng: np.random.Generator) -> dict[str, torch.Tensor]:
    """Values under the taps, logits, truth, and who is right, at a sample of the voxels where the maps differ."""
    maps = (example.m_atlas, example.m_fm, example.image)
    scale = image_scale(*maps)
    channels = gate_channels(*(np.pad(x, HALO, mode="edge") for x in maps), scale)
    where = np.argwhere(np.abs(example.m_atlas - example.m_fm) > DIFFERENT)
    if len(where) > MAX_VOXELS:
        where = where[np.sort(rng.choice(len(where), MAX_VOXELS, replace=False))]
    strides = np.array([channels.shape[2] * channels.shape[3], channels.shape[3], 1])
    offsets = np.array([np.array(t) - 1 for t in np.ndindex(3, 3, 3)])
    steps = np.stack([(offsets * d) @ strides for d in DILATIONS])
    at = ((where + HALO) @ strides)[:, None, None] + steps
    taps = channels.reshape(CHANNELS, -1)[:, at].transpose(1, 2, 0, 3)
    i, j, k = where.T
    atlas, fm, truth = example.m_atlas[i, j, k], example.m_fm[i, j, k], example.truth[i, j, k]
    atlas_right, fm_right = (atlas >= THRESHOLD) == truth, (fm >= THRESHOLD) == truth
    columns = {
        "taps": np.ascontiguousarray(taps),
        "z_atlas": _logit(atlas),
        "z_fm": _logit(fm),
        "truth": truth,
        "target": atlas_right,
        "one_right": atlas_right != fm_right,
    }
    return {name: torch.from_numpy(np.asarray(c, dtype=np.float32)) for name, c in columns.items()}


def _loss(network: GateNetwork, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    """Soft Dice of the fused voxels plus the cross-entropy of the gate where exactly one map is right."""
    z = network.at_voxels(rows["taps"])
    fused = torch.sigmoid(rows["z_fm"] + torch.sigmoid(z) * (rows["z_atlas"] - rows["z_fm"]))
    overlap = 2.0 * (fused * rows["truth"]).sum() / (fused.sum() + rows["truth"].sum() + 1e-6)
    each = functional.binary_cross_entropy_with_logits(z, rows["target"], reduction="none")
    oracle = (each * rows["one_right"]).sum() / rows["one_right"].sum().clamp_min(1.0)
    return 1.0 - overlap + oracle


def _train(network: GateNetwork, rows: dict[str, torch.Tensor], rng: np.random.Generator) -> list[float]:
    """Mean loss per epoch."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    count, history = len(rows["truth"]), []
    network.train()
    for _ in range(EPOCHS):
        order, losses = torch.from_numpy(rng.permutation(count)), []
        for batch in order.split(BATCH):
            optimiser.zero_grad(set_to_none=True)
            loss = _loss(network, {name: column[batch] for name, column in rows.items()})
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
        history.append(float(np.mean(losses)))
    return history


#: Torch's generator is one for all threads: gates are seeded one after the other.
_SEEDING = Lock()


def _fresh_network(seed: int) -> GateNetwork:
    """Untrained; nobody else's random numbers change."""
    with _SEEDING, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return GateNetwork()


def fit_gate(examples: Sequence[Example], seed: int = 0) -> Fusion:
    """Learn the gate of one label on the support.

    Where the trained gate is worse on the support than one of the two maps alone, or nothing could be learnt, the best
    constant gain (a `KalmanFusion`) takes its place; see `kalman.safeguarded`.

    Parameters
    ----------
    examples : sequence of Example
        Lessons; those without a true voxel teach nothing and are left out.
    seed : int
        Seed of the weights and of the order of the voxels.
    """
    examples = [e for e in examples if e.truth.any()]
    network = _fresh_network(seed)
    count = sum(p.numel() for p in network.parameters())
    facts: dict[str, Any] = {"kind": "gate", "learnable_parameters": count, "lessons": len(examples)}
    if not examples:
        return KalmanFusion.constant(0.5, {**facts, "chosen": "constant", "gain": 0.5})
    soft = [e.softened(TAU_MM) for e in examples]
    alone = inputs_dice(examples)
    rng = np.random.default_rng(seed)
    lessons = [_lesson(e, rng) for e in soft]
    rows = {name: torch.cat([lesson[name] for lesson in lessons]) for name in lessons[0]}
    history = []
    if len(rows["truth"]):
        # Batches are too small to share: handing them to a second core takes longer than the work itself.
        with one_thread():
            history = _train(network, rows, rng)
    losses = {"loss_before": history[0], "loss_after": history[-1]} if history else {}
    fusion: Fusion = GateFusion(network, {**facts, **losses, "chosen": "learnt", "voxels": len(rows["truth"])})
    # Where nothing could be learnt anything is better.
    fusion, score = safeguarded(fusion, fused_dice(fusion, soft) if history else -1.0, examples, soft, alone, facts)
    fusion.facts["support_dice"] = {**alone, "fused": score}
    return fusion
