"""The shape that a prompt stands for, for models that work from a mask: an ellipsoid for a box, a ball for a click."""

from __future__ import annotations

import numpy as np

from atlassegfm.prompts import THRESHOLD, Prompt
from atlassegfm.volume import Grid


def mask_of_prompt(prompt: Prompt, grid: Grid, size_ml: float) -> np.ndarray:
    """Best guess of the label's mask that uses nothing but what the prompt's kind gives away.

    Parameters
    ----------
    prompt : Prompt
        mask: its mask. box: the inscribed ellipsoid. box2d: an ellipsoid whose third axis is the geometric mean of the
        two that are known. click: a ball.
    grid : Grid
        Grid of the image.
    size_ml : float
        Volume of the ball for a click, in ml: that of the label in the atlas.

    Returns
    -------
    numpy.ndarray of bool, shape grid.shape
    """
    if prompt.kind == "mask":
        return prompt.mask >= THRESHOLD
    spacing = grid.spacing
    if prompt.kind == "click":
        radius = (3.0 * size_ml * 1000.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
        return _ellipsoid(grid.shape, np.array(prompt.point, dtype=float), np.full(3, radius) / spacing)
    box = np.array(prompt.box, dtype=float)
    half = (box[:, 1] - box[:, 0]) / 2.0
    if prompt.kind == "box2d":
        others = [a for a in range(3) if a != prompt.axis]
        half[prompt.axis] = np.sqrt(np.prod(half[others] * spacing[others])) / spacing[prompt.axis]
    return _ellipsoid(grid.shape, box.mean(axis=1) - 0.5, half)


def _ellipsoid(shape: tuple[int, int, int], centre: np.ndarray, half: np.ndarray) -> np.ndarray:
    """Voxels inside an ellipsoid given in voxels; always holds the voxel nearest its centre."""
    parts = [((np.arange(n) - c) / max(h, 0.5)) ** 2 for n, c, h in zip(shape, centre, half, strict=True)]
    out = parts[0][:, None, None] + parts[1][None, :, None] + parts[2][None, None, :] <= 1.0
    out[tuple(np.clip(np.round(centre), 0, np.array(shape) - 1).astype(int))] = True
    return out
