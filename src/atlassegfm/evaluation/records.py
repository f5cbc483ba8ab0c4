"""What one run on one pair gave, as a JSON file that a killed evaluation finds again."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlassegfm.content import code_digest, safe_name, settings_key
from atlassegfm.evaluation.baselines.slice_models import SLICE_MODELS
from atlassegfm.evaluation.dataset import file_digest
from atlassegfm.evaluation.protocol import Pair
from atlassegfm.evaluation.runs import CASE_FORMAT, Run
from atlassegfm.io import write_text_atomic
from atlassegfm.models.registry import MODELS
from atlassegfm.models.weights import used_digest

if TYPE_CHECKING:
    from atlassegfm.evaluation.runner import Settings


@dataclass(frozen=True)
class Output:
    """One label map of a run, judged.

    Parameters
    ----------
    labels : dict of int to dict
        Metrics of each scored label (`atlassegfm.evaluation.metrics.all_metrics`).
    seconds : float
        Time to get to this label map.
    prediction : str
        Where the label map was written, relative to the output folder; empty when it was not.
    """

    labels: dict[int, dict[str, float]]
    seconds: float
    prediction: str = ""


@dataclass(frozen=True)
class Record:
    """One run on one pair.

    Parameters
    ----------
    key : str
        Of everything that decides the numbers (`content_key`).
    atlas, query, run : str
        Case ids and the run's label.
    error : str
        Why it failed, one line; empty when it did not.
    outputs : dict of str to Output
        "final", "model" and "atlas" as far as the run has them; a failed run has only the penalties, as "failed".
    peak_mb : float
        Largest resident memory of the process during the run, in MB (10^6 bytes); 0 when unknown.
    facts : dict
        Timings of the steps and the like, for the reader.
    """

    key: str
    atlas: str
    query: str
    run: str
    error: str = ""
    outputs: dict[str, Output] = field(default_factory=dict)
    peak_mb: float = 0.0
    facts: dict[str, Any] = field(default_factory=dict)

    def output(self, name: str) -> Output:
        """The wanted label map's metrics; those of a failure when the run failed."""
        return self.outputs["failed" if self.error else name]

    def write(self, path: Path) -> None:
        """Write as JSON; NaN and infinity become null, because JSON has neither."""
        write_text_atomic(path, json.dumps(_plain(asdict(self)), indent=1, sort_keys=True) + "\n")

    @classmethod
    def read(cls, path: Path, key: str) -> Record | None:
        """The record in a file, or None when there is none, it is damaged, or it is of another computation."""
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["key"] != key:
                return None
            outputs = {name: _output(value) for name, value in data["outputs"].items()}
            return cls(**(data | {"outputs": outputs}))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


def _output(data: dict) -> Output:
    labels = {
        int(value): {k: math.nan if v is None else v for k, v in metrics.items()}
        for value, metrics in data["labels"].items()
    }
    return Output(labels, data["seconds"], data["prediction"])


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def content_key(run: Run, pair: Pair, digests: Mapping[str, str], settings: Settings) -> str:
    """Key of everything that decides a record's numbers: scans, method, labels, seed, tolerance, device and this code.

    Parameters
    ----------
    run, pair
        What is computed, on which cases.
    digests : mapping of str to str
        Case id to a hash of its files.
    settings : atlassegfm.evaluation.runner.Settings
        With the device that "auto" stands for.
    """
    used = [pair.atlas, pair.query]
    if run.method.uses_pool:
        used += pair.pool
    return settings_key(
        {
            "format": CASE_FORMAT,
            "code": code_digest(),
            "scans": [digests[case_id] for case_id in used],
            "labels": sorted(settings.labels),
            "settings": run.settings,
            "seed": settings.seed,
            "tolerance_mm": settings.tolerance_mm,
            "device": settings.device,
            "weights": _weights_digest(run),
        }
    )


def _weights_digest(run: Run) -> str:
    """Hash of the weights that a run uses; empty for models without any."""
    if run.method.procedure != "in-context":
        return used_digest(MODELS[run.method.model]) if run.method.model in MODELS else ""
    if run.method.model not in SLICE_MODELS:
        return ""
    info = SLICE_MODELS[run.method.model]
    return "" if info.missing() else file_digest(info.weights())


def record_path(folder: Path, pair: Pair, run: Run, key: str) -> Path:
    """File of a record: readable first, unique through the key's beginning."""
    return folder / "cases" / f"{safe_name(pair.atlas)}__{safe_name(pair.query)}__{safe_name(run.label)}__{key}.json"
