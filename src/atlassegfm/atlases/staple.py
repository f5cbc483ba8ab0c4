"""STAPLE, the reference that label fusions are compared with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import SimpleITK

from atlassegfm.atlases.warped import Box, WarpedAtlas, label_box, labels_of


def staple_labels(atlases: Sequence[WarpedAtlas]) -> Iterator[tuple[int, Box, np.ndarray]]:
    """Per label the probability that maximises the likelihood of what all atlases say; SimpleITK's implementation.

    Warfield, Zou & Wells, "Simultaneous truth and performance level estimation (STAPLE)", IEEE TMI 23 (2004) 903-921.
    The images play no part; an atlas's say is weighted by how well it agrees with the others, in the label's box.

    Parameters
    ----------
    atlases : sequence of WarpedAtlas
        On one part of the query's grid.

    Returns
    -------
    iterator of (value, box, numpy.ndarray)
        As `label_fusion.fused_labels` gives them.
    """
    for value in labels_of(atlases):
        box = label_box(atlases, value)
        masks = [atlas.mask(value, box) for atlas in atlases if value in atlas.values] if box else []
        masks = [mask for mask in masks if mask.any()]
        if not masks:
            continue
        if len(masks) == 1:
            yield value, box, masks[0].astype(np.float32)
            continue
        given = [SimpleITK.GetImageFromArray(mask.astype(np.uint8)) for mask in masks]
        found = SimpleITK.GetArrayFromImage(SimpleITK.STAPLE(given, 1.0))
        yield value, box, found.astype(np.float32)
