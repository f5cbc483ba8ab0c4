"""Labels of several atlases on the query become one probability per label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from atlassegfm.atlases import LABEL_FUSIONS
from atlassegfm.atlases.warped import Box, WarpedAtlas, label_box, labels_of
from atlassegfm.errors import InputError
from atlassegfm.volume import Grid, Volume


def fused_labels(
    kind: str,
    query: Volume,
    atlases: Sequence[WarpedAtlas],
    trust: Sequence[float] | None = None,
    whole: Grid | None = None,
) -> tuple[Iterator[tuple[int, Box, np.ndarray]], list[float]]:
    """Fuse what the atlases say, label by label.

    An atlas has no say outside its field of view, nor on labels that it does not have. Its vote is its membership, soft
    at the border, so that borders come to lie between those of the atlases.

    Parameters
    ----------
    kind : str
        A name out of `atlases.LABEL_FUSIONS`: "joint" (joint label fusion) and "weighted" (locally weighted voting, see
        `patches` for both), "majority" (all count the same), "staple" (see `staple`).
    query : Volume
        The part of the query that the atlases were carried to.
    atlases : sequence of WarpedAtlas
        At least one, in any order.
    trust : sequence of float, optional
        How far each is trusted as a whole, 0 to 1; "joint" and "weighted" multiply the weights of each place by it.
    whole : Grid, optional
        Of the whole query, whose size says what patches are compared; the part's if None.

    Returns
    -------
    iterator of (value, box, numpy.ndarray)
        For each label that any atlas has there: its probability, float32 in [0, 1], on a box of the part.
    list of float
        Mean weight of each atlas where they differ; equal for kinds that weigh no places.

    Raises
    ------
    InputError
        If the kind is unknown.
    """
    if kind not in LABEL_FUSIONS:
        raise InputError(f"unknown label fusion {kind!r}: choose one of {', '.join(LABEL_FUSIONS)}")
    count = len(atlases)
    if kind == "staple" and count > 1:
        from atlassegfm.atlases.staple import staple_labels

        return staple_labels(atlases), [1.0 / count] * count
    if kind in ("staple", "majority") or count == 1:
        return _votes(atlases, None), [1.0 / count] * count
    from atlassegfm.atlases.patches import PatchSettings, patch_weights

    settings = PatchSettings.of_scan(whole or query.grid)
    weights, means = patch_weights(query, atlases, joint=kind == "joint", trust=trust, settings=settings)
    return _votes(atlases, weights), means


def _votes(atlases: Sequence[WarpedAtlas], weights: np.ndarray | None) -> Iterator[tuple[int, Box, np.ndarray]]:
    """Weighted mean of the memberships, among those atlases that know the label and see the place."""
    for value in labels_of(atlases):
        box = label_box(atlases, value)
        if box is None:
            continue
        shape = tuple(s.stop - s.start for s in box)
        votes, total = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for number, atlas in enumerate(atlases):
            if value not in atlas.values:
                continue
            weight = atlas.inside[box].astype(np.float32)
            if weights is not None:
                weight *= weights[number][box]
            votes += weight * atlas.membership(value, box)
            total += weight
        # Where no atlas sees the place it is background.
        yield value, box, np.divide(votes, total, out=votes, where=total > 0)
