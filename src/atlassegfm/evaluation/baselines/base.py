"""What a procedure gets and what it gives back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from atlassegfm.atlas import Atlas
from atlassegfm.errors import InputError
from atlassegfm.evaluation.methods import Method
from atlassegfm.volume import Volume


@dataclass(frozen=True)
class Job:
    """One method on one pair.

    Parameters
    ----------
    method : Method
        Its settings.
    atlas : Atlas
        The labelled scan.
    query : Volume
        The image to segment.
    truth : Volume or None
        The query's true label map; None unless the method is marked as seeing it (`Method.sees_truth`).
    pool : callable
        Loads all atlases of the protocol, `atlas` first; for methods that use several.
    seed : int
        Of everything random.
    device : str
        "auto", "cpu" or "cuda".
    shared : dict
        Lives as long as the pair: what one method computed and another can use, such as the registration.
    """

    method: Method
    atlas: Atlas
    query: Volume
    truth: Volume | None
    pool: Callable[[], list[Atlas]]
    seed: int = 0
    device: str = "auto"
    shared: dict[Any, Any] = field(default_factory=dict)

    def option(self, name: str, default: Any) -> Any:  # noqa: ANN401
        """A setting of the method's procedure."""
        return dict(self.method.options).get(name, default)

    def needed_truth(self) -> Volume:
        """The truth, for procedures that cannot do without it."""
        if self.truth is None:
            raise InputError(f"method {self.method.name}: its procedure needs the query's true labels")
        return self.truth


@dataclass(frozen=True)
class Outcome:
    """Label maps on the query's grid.

    Parameters
    ----------
    maps : dict of str to Volume
        "final" always; "model" and "atlas" where there are such steps.
    seconds : dict of str to float
        Time to get to each map, from the loaded scans; the whole run's time is taken for those not named.
    facts : dict
        JSON-able: timings of steps, notices.
    """

    maps: dict[str, Volume]
    seconds: dict[str, float] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
