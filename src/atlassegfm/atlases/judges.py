"""The verdict on each label from an atlas that has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from atlassegfm.judging import LabelJudge
from atlassegfm.quality import Quality
from atlassegfm.registration.result import RegistrationResult
from atlassegfm.volume import Volume

if TYPE_CHECKING:
    from atlassegfm.prior import Prior


class Judges:
    """As a `LabelJudge`; labels that its atlas lacks, or that went ways of their own, are judged by others.

    Parameters
    ----------
    teacher : LabelJudge
        Of the atlas that the model learns from.
    stand_ins : dict of int to LabelJudge
        By label value.
    """

    def __init__(self, teacher: LabelJudge, stand_ins: dict[int, LabelJudge]) -> None:
        self._teacher, self._stand_ins = teacher, stand_ins

    @classmethod
    def of(
        cls,
        prior: Prior,
        query: Volume,
        returned: Volume | None = None,
        backward: RegistrationResult | None = None,
        reached: Mapping[int, float] | None = None,
        suspicions: Sequence[str] = (),
    ) -> Judges:
        """Those for a prior; parameters as for `LabelJudge`, `reached` being what it calls `learnt`."""
        own = prior.teacher
        teacher = LabelJudge(own.atlas, query, own.moved, own.forward, returned, backward, reached, suspicions)
        stand_ins = {
            value: LabelJudge(
                *(other.atlas, query, other.moved, other.forward),
                learnt=reached if other.atlas is own.atlas else None,
                suspicions=suspicions,
                roundtrips=other.roundtrips,
            )
            for value, other in prior.stand_ins.items()
        }
        return cls(teacher, stand_ins)

    def __call__(self, value: int, *maps: Any) -> None:  # noqa: ANN401 - those of `LabelJudge`
        """Judge one label."""
        self._stand_ins.get(value, self._teacher)(value, *maps)

    def missing(self, value: int) -> str:
        """Judge a label of which nothing is left on the query; returns the warning."""
        return self._stand_ins.get(value, self._teacher).missing(value)

    @property
    def verdicts(self) -> dict[int, Quality]:
        """By label value."""
        found = dict(self._teacher.verdicts)
        for value, judge in self._stand_ins.items():
            found |= {value: judge.verdicts[value]}
        return found
