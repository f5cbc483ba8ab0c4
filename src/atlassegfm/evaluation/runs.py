"""From methods to the fewest runs: rows that one run of the pipeline yields together are computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from atlassegfm.content import settings_key
from atlassegfm.evaluation.methods import Method

#: Raised when the metrics or the content of case files change, so that old files are not taken for new ones.
CASE_FORMAT = 1


@dataclass(frozen=True)
class Run:
    """One computation for a pair, and the (method name, output) rows it yields.

    Parameters
    ----------
    method : Method
        The settings; its name and output say nothing.
    serves : tuple of (str, str)
        Method name and which label map of this run is that method's.
    """

    method: Method
    serves: tuple[tuple[str, str], ...]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the numbers; JSON-able."""
        return self.method.run_settings()

    @property
    def label(self) -> str:
        """Short text for progress lines and file names: the first method that the run serves."""
        return self.serves[0][0]


def plan_runs(methods: Sequence[Method]) -> list[Run]:
    """Group methods into runs.

    A run of the pipeline gives three label maps. The warped atlas depends on the registration alone, the model's own
    answer also on model, prompt and customisation, the final one on all settings. A method therefore joins any run that
    agrees with it in what its own output depends on.

    Returns
    -------
    list of Run
        In the order of the methods they serve first.
    """
    hosts = sorted(
        (m for m in methods if m.procedure == "pipeline"),
        key=lambda m: {"final": 0, "model": 1, "atlas": 2}[_needed_output(m)],
    )
    chosen: list[Method] = []
    served: dict[str, tuple[Method, str]] = {}
    for method in hosts:
        output = _needed_output(method)
        host = next((h for h in chosen if _depends_on(h, output) == _depends_on(method, output)), None)
        if host is None:
            host = method
            chosen.append(host)
        served[method.name] = (host, output)
    for method in methods:
        served.setdefault(method.name, (method, "final"))
    runs: dict[str, list[tuple[str, str]]] = {}
    by_key: dict[str, Method] = {}
    for method in methods:
        host, output = served[method.name]
        key = settings_key(host.run_settings())
        by_key.setdefault(key, host)
        runs.setdefault(key, []).append((method.name, output))
    return [Run(by_key[key], tuple(rows)) for key, rows in runs.items()]


def _needed_output(method: Method) -> str:
    # With no model the final map is the warped atlas by definition, so that method can join any run.
    return "atlas" if method.model == "none" else method.output


def _depends_on(method: Method, output: str) -> tuple:
    """What an output of a pipeline run depends on; None never equals anything, for outputs a run does not have."""
    if output == "atlas":
        return method.alignment, method.vote
    if method.model == "none":
        return (None, id(method))
    model = (method.alignment, method.vote, method.model, method.prompt, method.customise, method.options)
    return model if output == "model" else (*model, method.fusion)
