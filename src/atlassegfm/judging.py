"""One query's verdicts: gathers what the quality estimate needs from the steps, label by label."""

from __future__ import annotations

import numpy as np

from atlassegfm.atlas import Atlas
from atlassegfm.overlap import dice
from atlassegfm.quality import Quality, Signals, cut_fraction, expected_volume, judge, measure
from atlassegfm.registration.result import RegistrationResult
from atlassegfm.volume import Volume


class LabelJudge:
    """Collects the verdict on each label as it is made, while its probabilities are in memory.

    Parameters
    ----------
    atlas : Atlas
        The labelled scan.
    query : Volume
        The scan that was segmented.
    moved : Volume
        Atlas image warped onto the query's grid.
    forward : RegistrationResult
        Query points to atlas points.
    returned : Volume, optional
        Atlas labels after the trip to the query and back; without it there is no round-trip signal.
    backward : RegistrationResult, optional
        Atlas points to query points, estimated on its own; else the inverse of the forward affine part stands in.
    """

    def __init__(
        self,
        atlas: Atlas,
        query: Volume,
        moved: Volume,
        forward: RegistrationResult,
        returned: Volume | None = None,
        backward: RegistrationResult | None = None,
    ) -> None:
        self._atlas, self._query, self._moved, self._returned = atlas, query, moved, returned
        self._matrix, self._doubts = forward.transform.matrix, tuple(forward.metrics.get("doubts", ()))
        self._to_query = backward.transform if backward else forward.transform.linear_part().inverse()
        self.verdicts: dict[int, Quality] = {}

    def __call__(
        self,
        value: int,
        box: tuple[slice, slice, slice],
        fused: np.ndarray,
        m_atlas: np.ndarray,
        m_fm: np.ndarray | None = None,
    ) -> None:
        """Judge one label from its probabilities (result, prior, model) on the part `box` of the query's grid."""
        atlas, roundtrip = self._atlas.labels, None
        if self._returned is not None:
            roundtrip = dice(self._returned.data == value, atlas.data == value, both_empty=0.0)
        atlas_ml = np.count_nonzero(atlas.data == value) * atlas.grid.voxel_volume_ml
        signals = measure(
            fused,
            m_atlas,
            m_fm,
            self._query.spacing,
            expected_ml=expected_volume(atlas_ml, self._matrix),
            cut=self._cut(value),
            roundtrip=roundtrip,
            fixed=self._query.data[box],
            moved=self._moved.data[box],
        )
        self.verdicts[value] = judge(signals, doubts=self._doubts)

    def missing(self, value: int) -> str:
        """Judge a label of which the registration left nothing on the query; returns the warning."""
        self.verdicts[value] = judge(Signals(empty=True, cut_fraction=self._cut(value)), doubts=self._doubts)
        return (
            f"{self._atlas.names[value]}: no voxel of the atlas label lands on the query, so there is no prompt and "
            "the result is empty"
        )

    def _cut(self, value: int) -> float:
        return cut_fraction(self._atlas.labels, value, self._query.grid, self._to_query)
