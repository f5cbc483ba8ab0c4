"""Neighbouring labels as negative clicks."""

from __future__ import annotations

import edt
import numpy as np

from atlassegfm.models.features import signed_distance
from atlassegfm.prompts import THRESHOLD, Point, Prompt
from atlassegfm.volume import bounding_box

#: A neighbour is clicked no nearer to the label than this and no farther than that, in mm.
NEAREST_MM, FARTHEST_MM = 2.0, 20.0
#: Clicks keep this distance from each other, in mm.
APART_MM = 10.0


def negative_clicks(prompt: Prompt, spacing: np.ndarray, count: int) -> list[Point]:
    """Up to `count` voxels that belong to other labels near this one, each as deep within them as can be.

    Parameters
    ----------
    prompt : Prompt
        With its rivals.
    spacing : array of 3 floats
        Voxel spacing in mm.
    count : int
        0 gives none.
    """
    box = bounding_box(prompt.mask >= THRESHOLD, margin=np.ceil(FARTHEST_MM / spacing).astype(int) + 1)
    if box is None or count < 1:
        return []
    rivals = prompt.rivals[box] >= THRESHOLD
    distance = signed_distance(prompt.mask[box] >= THRESHOLD, spacing)
    depth = edt.edt(np.ascontiguousarray(rivals), anisotropy=tuple(float(s) for s in spacing), parallel=1)
    depth[(distance < NEAREST_MM) | (distance > FARTHEST_MM)] = 0.0
    clicks: list[np.ndarray] = []
    voxels = np.argwhere(depth > 0)
    order = np.argsort(-depth[tuple(voxels.T)], kind="stable")
    for voxel in voxels[order]:
        if len(clicks) == count:
            break
        if all(np.linalg.norm((voxel - other) * spacing) >= APART_MM for other in clicks):
            clicks.append(voxel)
    corner = np.array([s.start for s in box])
    return [tuple(int(v) for v in click + corner) for click in clicks]
