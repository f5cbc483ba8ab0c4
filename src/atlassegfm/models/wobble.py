"""A probability from a model that gives hard masks: how often it says the same to prompts that differ a little.

A prompt made from a registered atlas is off by some millimetres, in a direction that nobody knows. What the model
answers to the prompt wherever it is moved within that error is certain; what comes and goes is not. The probability of
a voxel is the share of answers that hold it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from atlassegfm.prompts import THRESHOLD, Box, Point, Prompt


def wobbled(prompt: Prompt, spacing: np.ndarray, samples: int, amplitude_mm: float, seed: int) -> list[Prompt]:
    """The prompt itself, and copies of it that are moved by about `amplitude_mm`.

    Parameters
    ----------
    prompt : Prompt
        Of any kind.
    spacing : array of 3 floats
        Voxel spacing in mm.
    samples : int
        Number of prompts, the first one unmoved.
    amplitude_mm : float
        Length of the moves in mm; at least one voxel along the axis that is meant most.
    seed : int
        Of their directions, which are random but for this: the third prompt moves opposite to the second, and so on.
    """
    rng = np.random.default_rng([seed, prompt.value])
    out, step = [prompt], np.zeros(3)
    for number in range(samples - 1):
        if number % 2 == 0:
            direction = rng.normal(size=3)
            step = direction / np.linalg.norm(direction) * amplitude_mm / np.asarray(spacing)
            step *= max(1.0, 1.0 / np.abs(step).max())
        else:
            step = -step
        out.append(moved(prompt, tuple(int(v) for v in np.round(step))))
    return out


def moved(prompt: Prompt, by: Point) -> Prompt:
    """A prompt moved by whole voxels, as far as the image goes; a click never leaves M_atlas."""
    shape = prompt.mask.shape
    if prompt.kind == "click":
        point = tuple(min(max(p + b, 0), n - 1) for p, b, n in zip(prompt.point, by, shape, strict=True))
        return replace(prompt, point=point) if prompt.mask[point] >= THRESHOLD else prompt
    if prompt.box is not None:
        flat = tuple(0 if a == prompt.axis else b for a, b in enumerate(by))
        return replace(prompt, box=_moved_box(prompt.box, flat, shape))
    mask = _moved_array(prompt.mask, by)
    return replace(prompt, mask=mask) if (mask >= THRESHOLD).any() else prompt


def agreement(answers: list[np.ndarray]) -> np.ndarray:
    """Share of the hard masks that hold a voxel, float32."""
    return np.mean(answers, axis=0, dtype=np.float32)


def _moved_box(box: Box, by: Point, shape: Point) -> Box:
    """The box at its full size, stopped at the image's edges."""
    within = [min(max(b, -lo), n - hi) for (lo, hi), b, n in zip(box, by, shape, strict=True)]
    return tuple((lo + b, hi + b) for (lo, hi), b in zip(box, within, strict=True))


def _moved_array(data: np.ndarray, by: Point) -> np.ndarray:
    """The array moved by whole voxels, zeros following."""
    out = np.zeros_like(data)
    target = tuple(slice(max(0, b), min(n, n + b)) for b, n in zip(by, data.shape, strict=True))
    source = tuple(slice(max(0, -b), min(n, n - b)) for b, n in zip(by, data.shape, strict=True))
    out[target] = data[source]
    return out
