"""The verdict on each label from an atlas that has it."""

from __future__ import annotations

from typing import Any

from atlassegfm.judging import LabelJudge
from atlassegfm.quality import Quality


class Judges:
    """As a `LabelJudge`; labels that its atlas lacks are judged by others.

    Parameters
    ----------
    teacher : LabelJudge
        Of the atlas that the model learns from.
    stand_ins : dict of int to LabelJudge
        By label value, for labels that it lacks.
    """

    def __init__(self, teacher: LabelJudge, stand_ins: dict[int, LabelJudge]) -> None:
        self._teacher, self._stand_ins = teacher, stand_ins

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
