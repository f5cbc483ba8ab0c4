"""Greedy compositive steps along the gradient of the LNCC, from a displacement to the best one met on the way.

The map phi(x) = x + u(x) lives on the fixed grid; each step composes it with a smooth, small update v,
phi <- phi o (id + v), which keeps it invertible as long as |v| stays below a voxel (Yushkevich et al., "Fast automatic
segmentation of hippocampal subfields ... (greedy)", Alzheimer's & Dementia 12 (2016); Avants et al., "Symmetric
diffeomorphic image registration with cross-correlation", MedIA 12 (2008)). The gradient is analytic.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from atlassegfm.registration import descent_kernels
from atlassegfm.registration.knobs import DeformableSettings
from atlassegfm.registration.operators import STILL, Operators, array, rows, window

#: Noise of edges as part of that of intensities: the square of what steep ones have per voxel.
EDGE_NOISE = 0.04


@dataclass(frozen=True)
class Moved:
    """An image that displacements move onto the voxels of another one.

    Parameters
    ----------
    image : torch.Tensor, shape (I, J, K)
        Intensities in [0, 1].
    matrix : numpy.ndarray, shape (4, 4)
        From voxels of the other image, the displacement added, to those of this one.
    known : torch.Tensor, optional
        1 at the voxels of the other image that count, else 0; without it all do.
    """

    image: torch.Tensor
    matrix: np.ndarray
    known: torch.Tensor | None = None

    def under(self, ops: Operators, u: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The image where `u` takes it, and the mask of the voxels where it is known."""
        values, seen = ops.warp(self.image[None], self.matrix, u)
        return values[0], seen if self.known is None else seen * self.known


@dataclass(frozen=True)
class Descent:
    """A displacement (3, I, J, K) in voxels of the level, and the LNCC before each step on the way to it."""

    displacement: torch.Tensor
    history: list[float]


def descend(
    ops: Operators,
    target: torch.Tensor,
    moved: Moved,
    u: torch.Tensor,
    iterations: int,
    settings: DeformableSettings,
    edges: float = 0.0,
) -> Descent:
    """Steps from `u` that bring the moved image onto the target; ends with the best displacement met.

    A step that loses is followed by shorter ones, down to a fraction of the first.

    Parameters
    ----------
    ops : Operators
        What the steps are made of.
    target : torch.Tensor, shape (I, J, K)
        Intensities in [0, 1].
    moved : Moved
        The image that is brought onto it.
    u : torch.Tensor, shape (3, I, J, K)
        The displacement to begin with, in voxels of the target.
    iterations : int
        The most steps that are taken.
    settings : DeformableSettings
        Window, noise, length and smoothness of the steps.
    edges : float
        What the correlation of the images' edges counts, from 0 (that of the intensities alone) to 1.
    """
    if ops.chained(u) and min(settings.smooth_update, settings.smooth_field) > 0:
        return _in_one_call(target, moved, u, iterations, settings, edges)
    marks = ops.edges(target) if edges else None
    history = np.zeros(iterations)
    best, most, length = u, -1.0, settings.step
    for at in range(iterations):
        m, seen = moved.under(ops, u)
        history[at], force = _force(ops, (target, marks), m, seen, settings, edges)
        better, length, further = descent_kernels.paced(history, at + 1, most, length, settings.step)
        if better:
            best, most = u, history[at]
        further_on = ops.step(u, force, length, settings.smooth_update, settings.smooth_field) if further else None
        if further_on is None:
            return Descent(best, history[: at + 1].tolist())
        u = further_on
    return Descent(best, history.tolist())


def _force(
    ops: Operators,
    targets: tuple[torch.Tensor, torch.Tensor | None],
    m: torch.Tensor,
    seen: torch.Tensor,
    settings: DeformableSettings,
    share: float,
) -> tuple[float, torch.Tensor]:
    """LNCC with the target and its gradient by the displacement; mixed with the same of both images' edges."""
    target, marks = targets
    if marks is None:
        return ops.force(target, m, seen, settings.radius, settings.noise)
    value, force = ops.force(marks, ops.edges(m), seen, settings.radius, EDGE_NOISE * settings.noise)
    if share < 1.0:
        plain, pull = ops.force(target, m, seen, settings.radius, settings.noise)
        # Rounded after each operation, as in one call.
        value, force = share * value + (1.0 - share) * plain, force.mul_(share).add_(pull.mul_(1.0 - share))
    return value, force


def _in_one_call(
    target: torch.Tensor,
    moved: Moved,
    u: torch.Tensor,
    iterations: int,
    settings: DeformableSettings,
    edges: float,
) -> Descent:
    """The same on a CPU, compiled as a whole."""
    known = torch.ones(target.shape) if moved.known is None else moved.known
    noises = np.float32(settings.noise), np.float32(EDGE_NOISE * settings.noise)
    box = (np.float32(1.0),) * (settings.radius + 1)
    smoothings = settings.smooth_update, settings.smooth_field
    update, field = (window(u.shape[1:], s, inside=inside) for s, inside in zip(smoothings, (False, True), strict=True))
    best, history = torch.empty(u.shape), np.zeros(iterations)
    images = array(target), array(moved.image[None]), rows(moved.matrix), array(known)
    begun = u.clone(memory_format=torch.contiguous_format).numpy()
    rules = float(edges), box, noises, rows(STILL), update, field, float(settings.step)
    taken = descent_kernels.descent(*images, *rules, begun, best.numpy(), history)
    return Descent(best, history[:taken].tolist())
