"""What a registration method takes beside the two images, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atlassegfm.registration.transform import Transform
from atlassegfm.volume import Volume

if TYPE_CHECKING:
    from atlassegfm.registration.focus import Focus

#: Told (name of the step, finished fraction in [0, 1]).
Progress = Callable[[str, float], None]


def silent(step: str, fraction: float) -> None:
    """Progress that goes nowhere."""


@dataclass(frozen=True)
class Settings:
    """How to run a registration method.

    Parameters
    ----------
    seed : int
        Seed of everything random.
    device : str
        "cpu" or "cuda".
    progress : callable
        Told the step's name and the finished fraction.
    options : mapping
        What the method takes beyond that; see `options`. `registry.register` checks names and values.
    focus : Focus, optional
        Where the alignment matters: the surroundings of the atlas's labels. Methods other than our own take no notice.
    """

    seed: int = 0
    device: str = "cpu"
    progress: Progress = silent
    options: Mapping[str, Any] = field(default_factory=dict)
    focus: Focus | None = None


@dataclass(frozen=True)
class RegistrationResult:
    """A pull-back and what is known about it.

    Parameters
    ----------
    transform : Transform
        Fixed (query) world points to moving (atlas) world points, RAS+ mm.
    metrics : dict
        JSON-ready facts: similarities, folding, chosen start. "doubts" is a list of texts, empty or absent when nothing
        speaks against the alignment as a whole.
    seconds : dict
        Wall seconds per stage.
    warnings : list of str
        What the user should know.
    apart : Volume or None
        Distance in mm of the maps there and back, on a grid over the fixed image, from methods that go both ways.
    """

    transform: Transform
    metrics: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    apart: Volume | None = None
