"""Simulated users: a click at the centre of the largest error, again and again.

As nnInteractive's evaluation does it (Isensee et al. 2025, arXiv 2503.08373): the next click goes to the centre of the
largest connected error, positive where the label was missed, negative where it was found wrongly. The first click is
the centre of the label itself, the largest error of an empty answer.

A model that understands several clicks offers ``segment_clicks(clicks, previous)``, clicks being a list of
(voxel, positive). For others a click is a small ball in a mask: added to the previous answer, or taken away from it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import edt
import numpy as np

from atlassegfm.errors import ModelError
from atlassegfm.evaluation.baselines.base import Job, Outcome
from atlassegfm.evaluation.baselines.prompted import segment_prompted
from atlassegfm.models.base import SegmentationModel
from atlassegfm.models.registry import model_info
from atlassegfm.prompts import Prompt, central_voxel, largest_component, make_prompt
from atlassegfm.volume import Grid, Volume, bounding_box

#: Radius of the ball that stands for a click when a model takes masks only, mm; at least 1.5 voxels of the widest side.
BALL_MM = 5.0
#: Depths and distances that differ by less than this (share, mm) are equal: rounding decides nothing.
TIE = 1e-5


@dataclass(frozen=True)
class Click:
    """One click of a simulated user: the voxel, and whether it says "this too" or "not this"."""

    voxel: tuple[int, int, int]
    positive: bool


def next_click(truth: np.ndarray, found: np.ndarray, spacing: np.ndarray) -> Click | None:
    """Click at the centre of the largest error.

    Parameters
    ----------
    truth, found : numpy.ndarray of bool, same 3D shape
        The label and the current answer.
    spacing : array of three float
        mm along the axes.

    Returns
    -------
    Click or None
        The voxel of the largest 26-connected error that lies deepest in it (largest distance to its border, in mm; of
        several the one nearest its centre of mass); None when there is no error. Of equally large errors the missed
        one counts.
    """
    missed, wrong = truth & ~found, found & ~truth
    best: tuple[int, np.ndarray, tuple] | None = None
    for error in (missed, wrong):
        box = bounding_box(error)
        if box is None:
            continue
        parts = cc3d.connected_components(np.ascontiguousarray(error[box]), connectivity=26)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        largest = int(sizes.argmax())
        if best is None or sizes[largest] > best[0]:
            best = int(sizes[largest]), parts == largest, (box, error is missed)
    if best is None:
        return None
    _, component, (box, positive) = best
    depth = edt.edt(np.ascontiguousarray(component), anisotropy=tuple(map(float, spacing)), black_border=True)
    deepest = np.argwhere(depth >= depth.max() * (1 - TIE))
    aside = np.linalg.norm((deepest - np.argwhere(component).mean(axis=0)) * np.asarray(spacing), axis=1)
    inner = deepest[np.flatnonzero(aside <= aside.min() + TIE)[0]]
    return Click(tuple(int(i) + s.start for i, s in zip(inner, box, strict=True)), positive)


def run_clicks(job: Job) -> Outcome:
    """Segment each label of the truth from ``options["clicks"]`` simulated clicks."""
    truth, number = job.needed_truth(), int(job.option("clicks", 1))
    kinds = model_info(job.method.model).prompts
    kind = "click" if "click" in kinds else "mask"
    if kind not in kinds:
        raise ModelError(f"model {job.method.model} takes neither clicks nor masks ({', '.join(kinds)})")

    def answer(session: SegmentationModel, value: int) -> np.ndarray | None:
        return _converse(session, truth.data == value, truth.grid, value, number, kind)

    return segment_prompted(job, _clicked_atlas(job.atlas.labels), kind, answer)


def _converse(
    session: SegmentationModel, truth: np.ndarray, grid: Grid, value: int, number: int, kind: str
) -> np.ndarray | None:
    """The model's answer after `number` clicks, or fewer if nothing is left to correct."""
    clicks: list[Click] = []
    probability: np.ndarray | None = None
    for _ in range(number):
        found = np.zeros_like(truth) if probability is None else probability >= 0.5
        click = next_click(truth, found, grid.spacing)
        if click is None:
            break
        clicks.append(click)
        if hasattr(session, "segment_clicks"):
            probability = session.segment_clicks([(c.voxel, c.positive) for c in clicks], probability)
        elif kind == "click" and len(clicks) == 1:
            probability = session.segment(_click_prompt(click, grid, value))
        else:
            prompt = _mask_prompt(click, found, grid, value)
            probability = np.zeros(grid.shape, np.float32) if prompt is None else session.segment(prompt)
    return probability


def _click_prompt(click: Click, grid: Grid, value: int) -> Prompt:
    # A one-voxel mask makes that voxel the click, and tells the model nothing that the click does not.
    mask = np.zeros(grid.shape, np.float32)
    mask[click.voxel] = 1.0
    return make_prompt("click", mask, grid, value)


def _mask_prompt(click: Click, found: np.ndarray, grid: Grid, value: int) -> Prompt | None:
    near = ball(click.voxel, grid)
    mask = found | near if click.positive else found & ~near
    return make_prompt("mask", mask.astype(np.float32), grid, value)


def ball(voxel: tuple[int, int, int], grid: Grid) -> np.ndarray:
    """Boolean ball around a voxel, `BALL_MM` in radius."""
    radius = max(BALL_MM, 1.5 * float(grid.spacing.max()))
    squares = [((np.arange(n) - v) * s) ** 2 for n, v, s in zip(grid.shape, voxel, grid.spacing, strict=True)]
    return squares[0][:, None, None] + squares[1][:, None] + squares[2] <= radius**2


def _clicked_atlas(labels: Volume) -> Volume:
    """The atlas as a clicking user would mark it: a ball in the middle of each label."""
    marked = np.zeros_like(labels.data)
    for value in np.unique(labels.data[labels.data > 0]):
        component, corner = largest_component(labels.data == value)
        middle = central_voxel(component, labels.spacing)
        marked[ball(tuple(m + c for m, c in zip(middle, corner, strict=True)), labels.grid)] = value
    return Volume(marked, labels.grid)
