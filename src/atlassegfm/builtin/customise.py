"""The pre-trained network learns one atlas: a minute or two of lessons on its labels, kept only if they help."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional as nnf

from atlassegfm.builtin.augment import Augmenter
from atlassegfm.builtin.network import RefinerNet
from atlassegfm.builtin.patches import Asking, Patch, draw_patch
from atlassegfm.builtin.refine import tile_edges
from atlassegfm.builtin.training import GRADIENT_NORM, refinement_loss

#: First words of the seeds of lessons to learn from and of lessons to judge by.
LEARNING, JUDGING = 2, 3


@dataclass(frozen=True)
class Course:
    """How the atlas is learnt; everything that changes the outcome besides the atlas, the weights and the seed.

    Parameters
    ----------
    passes : int
        Patches of `refine.TILE` voxels' edge that the network sees, each label counted: the cost.
    fewest_steps, most_steps : int
        Bounds on the number of steps that come of it.
    labels : int
        Labels asked for in one patch, at most.
    per_lesson : int
        Patches drawn from a lesson before the next one is made.
    learning_rate : float
        Of AdamW; warm-up over a tenth, then a cosine to zero.
    film_rate : float
        Factor on it for the labels' own scales and shifts, which start from nothing.
    competition : float
        Weight of the cross-entropy between labels against the loss of each label on its own.
    judging_patches : int
        Held-out patches.
    """

    passes: int = 360
    fewest_steps: int = 60
    most_steps: int = 160
    labels: int = 4
    per_lesson: int = 4
    learning_rate: float = 1e-3
    film_rate: float = 3.0
    competition: float = 1.0
    judging_patches: int = 12

    def steps(self, labels: int, shape: tuple[int, ...]) -> int:
        """Number of steps for so many labels on an atlas of `shape` voxels; the cost decides, never the clock."""
        patch = math.prod(tile_edges(shape)) / math.prod(tile_edges((10**6,) * 3))
        wanted = self.passes / (min(labels, self.labels) * patch)
        return int(min(max(wanted, self.fewest_steps), self.most_steps))


def customised(
    network: RefinerNet,
    augmenter: Augmenter,
    asking: Asking,
    seed: int,
    course: Course | None = None,
    device: str = "cpu",
) -> tuple[RefinerNet, dict[str, Any]]:
    """A copy of the network that has learnt the atlas, or one that has not where that is no better.

    Parameters
    ----------
    network : RefinerNet
        Pre-trained; left as it is.
    augmenter : Augmenter
        Maker of lessons.
    asking : Asking
        How labels are asked for; label v has row v - 1 of the modulation.
    seed : int
        The same seed gives the same weights on the same machine.
    course : Course, optional
        How to learn.
    device : {"cpu", "cuda"}
        Where.

    Returns
    -------
    RefinerNet
        In evaluation mode, with a modulation, on `device`.
    dict
        JSON-ready: steps, held-out loss before and after, whether the customised weights were kept.
    """
    course = course or Course()
    before = copy.deepcopy(network).to(device, memory_format=torch.channels_last_3d)
    before.add_labels(asking.labels)
    after = copy.deepcopy(before)
    judges = _judges(augmenter, asking, seed, course)
    steps = course.steps(asking.labels, augmenter.shape)
    _learn(after, augmenter, asking, seed, course, steps, device)
    losses = [held_out_loss(n.eval(), judges, course, device) for n in (before, after)]
    # Written so that a loss that is no number counts as no better.
    better = losses[1] < losses[0]
    chosen = after if better else before
    facts = {
        "learnable_parameters": sum(p.numel() for p in after.parameters()),
        "steps": steps,
        "held_out_loss": {"shipped": round(losses[0], 5), "customised": round(losses[1], 5)},
        "customised": better,
    }
    return chosen.requires_grad_(False), facts


def _learn(
    network: RefinerNet, augmenter: Augmenter, asking: Asking, seed: int, course: Course, steps: int, device: str
) -> None:
    """Change the network's weights by `steps` patches."""
    network.train().requires_grad_(True)
    own = [p for name, p in network.named_parameters() if name != "modulation"]
    optimiser = torch.optim.AdamW(
        [{"params": own, "factor": 1.0}, {"params": [network.modulation], "factor": course.film_rate}],
        lr=course.learning_rate,
        weight_decay=0.0,
        fused=True,
    )
    for step in range(steps):
        number, place = divmod(step, course.per_lesson)
        if place == 0:
            lesson = augmenter.lesson((LEARNING, seed, number))
            rng = np.random.default_rng((LEARNING, seed, number, 1))
        patch = draw_patch(rng, lesson, asking, course.labels)
        if patch is None:
            continue
        done = step / steps
        rate = course.learning_rate * min(1.0, 10.0 * (done + 1.0 / steps)) * 0.5 * (1.0 + math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        loss = patch_loss(network, patch, course, device)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_NORM)
        optimiser.step()


def patch_loss(network: RefinerNet, patch: Patch, course: Course, device: str) -> torch.Tensor:
    """Each label's own loss (`training.refinement_loss`), and cross-entropy between the labels and background.

    The own loss makes one label's probability mean something alone, as it is asked for; the cross-entropy makes
    neighbours agree on who has a voxel. The background's logit is 0.
    """
    inputs = patch.inputs.to(device, memory_format=torch.channels_last_3d)
    with torch.autocast(device, torch.bfloat16):
        logits = network(inputs, patch.rows.to(device))
    truth = patch.truth.to(device)
    own = torch.stack([(truth == n + 1).float() for n in range(len(patch.rows))])[:, None]
    loss = refinement_loss(logits, own)
    if course.competition and len(patch.rows) > 1:
        together = torch.cat([torch.zeros_like(logits[:1]), logits])[:, 0][None]
        loss = loss + course.competition * nnf.cross_entropy(together, truth[None])
    return loss


@torch.inference_mode()
def held_out_loss(network: RefinerNet, judges: list[Patch], course: Course, device: str = "cpu") -> float:
    """Mean loss over held-out patches; lower is better."""
    return float(np.mean([float(patch_loss(network, patch, course, device)) for patch in judges]))


def _judges(augmenter: Augmenter, asking: Asking, seed: int, course: Course) -> list[Patch]:
    """Patches of lessons that are never learnt from."""
    out = []
    for number in range(-(-course.judging_patches // course.per_lesson)):
        lesson = augmenter.lesson((JUDGING, seed, number))
        rng = np.random.default_rng((JUDGING, seed, number, 1))
        found = [draw_patch(rng, lesson, asking, course.labels) for _ in range(course.per_lesson)]
        out += [p for p in found if p is not None]
    return out
