"""One query's verdicts: gathers what the quality estimate needs from the steps, label by label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from atlassegfm.atlas import Atlas
from atlassegfm.overlap import dice
from atlassegfm.prompts import THRESHOLD
from atlassegfm.quality import Quality, Signals, cut_fraction, expected_volume, judge, measure
from atlassegfm.quality.borders import Border, BorderCurve, border_curve, border_of, mismatch
from atlassegfm.quality.greys import Greys, greys_of, image_spread
from atlassegfm.quality.shapes import distortion, radius, spread, thickness_ratio
from atlassegfm.quality.signals import border_points, sampled
from atlassegfm.registration.kept import Kept
from atlassegfm.registration.result import RegistrationResult
from atlassegfm.suspecting import suspicions_of_label
from atlassegfm.volume import Grid, Volume

#: What the borders of an atlas's labels look like, by label and width of the steps: an atlas meets many queries.
_borders: Kept[tuple[Border | None, BorderCurve | None]] = Kept()
#: What an atlas's labels are made of, by label, and how far the grey levels of whole images spread.
_greys: Kept[Greys | None] = Kept()
_spreads: Kept[float] = Kept()


def _spread_of(image: Volume) -> float:
    return _spreads.of(image, "whole", lambda: image_spread(image.data))


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
    learnt : mapping of int to float, optional
        Per label the Dice that the method reached on the atlas itself.
    suspicions : sequence of str
        Why atlas and query do not go together.
    roundtrips : mapping of int to float, optional
        Dice of labels there and back, where that is known in place of `returned`.
    """

    def __init__(
        self,
        atlas: Atlas,
        query: Volume,
        moved: Volume,
        forward: RegistrationResult,
        returned: Volume | None = None,
        backward: RegistrationResult | None = None,
        learnt: Mapping[int, float] | None = None,
        suspicions: Sequence[str] = (),
        roundtrips: Mapping[int, float] | None = None,
    ) -> None:
        self._atlas, self._query, self._moved, self._returned = atlas, query, moved, returned
        self._forward, self._backward, self._learnt = forward, backward, learnt or {}
        self._suspicions, self._roundtrips = tuple(suspicions), roundtrips or {}
        # No narrower than a voxel of either image: what is compared has to be there in both.
        self._step_mm = max(1.0, *atlas.image.spacing.tolist(), *query.spacing.tolist())
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
        atlas, roundtrip = self._atlas.labels, self._roundtrips.get(value)
        label = atlas.data == value
        if self._returned is not None:
            roundtrip = dice(self._returned.data == value, label, both_empty=0.0)
        atlas_ml = np.count_nonzero(label) * atlas.grid.voxel_volume_ml
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
        result = np.zeros(self._query.grid.shape, dtype=bool)
        result[box] = fused >= THRESHOLD
        size, part = radius(label, atlas.spacing), self._query.grid.cropped(box)
        overall = float(np.sqrt(size * spread(label, atlas.spacing)))
        signals = replace(
            signals,
            apart=self._apart(result[box], part, size),
            distortion=distortion(m_atlas >= THRESHOLD, part, self._forward.transform, overall),
            thickness_ratio=thickness_ratio(radius(result[box], self._query.spacing), size, self._matrix),
            atlas_dice=self._learnt.get(value),
            border_dice=self._border_dice(value, label, result, size),
            grey_ratio=self._grey_ratio(value, label, result, size),
        )
        suspicions = [*self._suspicions, *suspicions_of_label(self._atlas.names[value])]
        self.verdicts[value] = judge(signals, doubts=self._doubts, suspicions=suspicions)

    def _border_dice(self, value: int, label: np.ndarray, result: np.ndarray, radius_mm: float) -> float | None:
        """Whether the result's border lies on what the label's border lies on in the atlas; see `Signals`."""
        image, step = self._atlas.image, self._step_mm

        def learn() -> tuple[Border | None, BorderCurve | None]:
            seen = border_of(image.data, label, image.spacing, step)
            return seen, None if seen is None else border_curve(image, label, radius_mm, step)

        there, curve = _borders.of(self._atlas.labels, (value, step), learn)
        here = None if curve is None else border_of(self._query.data, result, self._query.spacing, step)
        return None if here is None else curve.dice(mismatch(here, there))

    def _grey_ratio(self, value: int, label: np.ndarray, result: np.ndarray, radius_mm: float) -> float | None:
        """Whether the result is made of one thing where the label is; see `Signals`."""
        image = self._atlas.image
        there = _greys.of(self._atlas.labels, value, lambda: greys_of(image, label, radius_mm, _spread_of(image)))
        here = greys_of(self._query, result, radius_mm, _spread_of(self._query))
        return None if here is None or there is None else here.spread_over(there)

    def _apart(self, result: np.ndarray, grid: Grid, radius_mm: float) -> float | None:
        """How far the maps there and back lie apart at the result's border, relative to the label's radius."""
        forward, backward = self._forward, self._backward
        points = border_points(result, grid)
        if radius_mm <= 0 or not len(points):
            return None
        if forward.apart is not None:
            found = sampled(forward.apart, points)
        elif backward is not None:
            found = np.linalg.norm(backward.transform(forward.transform(points)) - points, axis=1)
        else:
            return None
        return float(found.mean()) / radius_mm

    def missing(self, value: int) -> str:
        """Judge a label of which the registration left nothing on the query; returns the warning."""
        self.verdicts[value] = judge(Signals(empty=True, cut_fraction=self._cut(value)), doubts=self._doubts)
        return (
            f"{self._atlas.names[value]}: no voxel of the atlas label lands on the query, so there is no prompt and "
            "the result is empty"
        )

    def _cut(self, value: int) -> float:
        return cut_fraction(self._atlas.labels, value, self._query.grid, self._to_query)
