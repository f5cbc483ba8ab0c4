"""Measure what several atlases bring over one, and write docs/results/atlases.md.

For each query of a set: every atlas alone, then all of them together by each label fusion, registration alone and with
the built-in model. An interrupted run continues when repeated: registrations and results are kept in the folder --out.

    python benchmarks/atlases.py                     # all sets of ../shared/data
    python benchmarks/atlases.py --only hippocampus  # this set; the page keeps what was measured of the others
    python benchmarks/atlases.py --page-only         # measure nothing, write the page from what is there
"""

from __future__ import annotations

import json
import pickle
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
FUSIONS = ("joint", "weighted", "majority", "staple")


@dataclass(frozen=True)
class Set:
    """One data set: per query the atlases that serve it, by their ids, and the labels whose Dice is averaged."""

    name: str
    queries: dict[str, tuple[str, ...]]
    labels: tuple[int, ...]


def _cases(prefix, queries, atlases):
    return {f"{prefix}{q}": tuple(f"{prefix}{a}" for a in atlases if a != q) for q in queries}


#: The queries of docs/results.md; its atlas is the first one. Of the eight CT scans four are atlases, and the next
#: query is the fifth.
CT = {
    f"case_{q}": (*(f"case_{a}" for a in ("00", "05", "06", "07")), f"case_{after}")
    for q, after in (("01", "02"), ("02", "03"), ("03", "04"), ("04", "01"))
}
HIPPOCAMPI = ("003", "004", "006", "007", "008", "011", "014", "015", "017", "019")
SETS = (
    Set("abdomen-mr", _cases("case_", ("02", "05", "10", "13"), ("01", "03", "08", "15", "19")), (1, 2, 3, 4)),
    Set("abdomen-ct", CT, (1, 2, 3, 6)),
    Set("hippocampus", _cases("hippocampus_", HIPPOCAMPI, ("001", "020", "023", "024", "025")), (1, 2)),
)


class Scans:
    """The scans of one set, read when they are first asked for."""

    def __init__(self, folder, labels):
        self.folder, self.labels, self._atlases = folder, labels, {}

    def atlas(self, case):
        """Image and wanted labels of a case."""
        from atlassegfm.atlas import Atlas

        if case not in self._atlases:
            image, labels = (self.folder / part / f"{case}.nii.gz" for part in ("images", "labels"))
            self._atlases[case] = Atlas.load(image, labels, only=self.labels)
        return self._atlases[case]


class KeptRegistrations:
    """Registrations of one pair of scans after the other, kept on disk, with the seconds that they took."""

    def __init__(self, folder, scans):
        self._folder, self._scans = folder, scans

    def _name(self, volume):
        found = [case for case, atlas in self._scans._atlases.items() if atlas.image is volume]
        return found[0]

    def register(self, fixed, moving, method, settings):
        """As `RegistrationCache.register`."""
        from atlassegfm.registration.registry import register

        path = self._folder / f"{self._name(moving)}__{self._name(fixed)}__{method}.pickle"
        if path.exists():
            return pickle.loads(path.read_bytes())
        start = time.perf_counter()
        result = register(fixed, moving, method, settings)
        seconds = time.perf_counter() - start
        path.with_suffix(".part").write_bytes(pickle.dumps((result, seconds)))
        path.with_suffix(".part").rename(path)
        return result, seconds


def measure(wanted, data, out):
    """All results of one set that are not there yet."""
    from atlassegfm.runtime import prepare_compute

    prepare_compute()
    scans = Scans(data / wanted.name, list(wanted.labels))
    for folder in ("registrations", "results"):
        (out / wanted.name / folder).mkdir(parents=True, exist_ok=True)
    kept = KeptRegistrations(out / wanted.name / "registrations", scans)
    for query, atlases in wanted.queries.items():
        for atlas in atlases:
            _result(out, wanted, query, (atlas,), "", scans, kept)
        for fusion in FUSIONS:
            _result(out, wanted, query, atlases, fusion, scans, kept)


def _result(out, wanted, query, atlases, fusion, scans, kept):
    """One JSON file: Dice per label of registration alone and of the final result."""
    path = out / wanted.name / "results" / f"{query}__{fusion or atlases[0]}.json"
    if path.exists():
        return
    from atlassegfm.pipeline import segment

    given = [scans.atlas(case) for case in atlases]
    truth = scans.atlas(query)
    # The model learns for a minute; of the label fusions only the default is worth it.
    model = "builtin" if fusion in ("", FUSIONS[0]) else "none"
    options = {"label_fusion": fusion} if fusion else {}
    found = segment(given if fusion else given[0], truth.image, model=model, cache=kept, device="cpu", **options)
    timings = found.report["timings"]
    saved = found.report.get("seconds_saved", {})
    record = {
        "query": query,
        "atlases": atlases,
        "fusion": fusion,
        "registration": _dices(found.atlas_labels, truth, wanted.labels),
        "final": _dices(found.labels, truth, wanted.labels) if model != "none" else None,
        "seconds": timings["total"] + sum(saved.values()),
        "left_out": [e["atlas"] for e in found.report.get("atlases", {}).get("list", ()) if not e["used"]],
    }
    path.with_suffix(".part").write_text(json.dumps(record))
    path.with_suffix(".part").rename(path)
    means = [np.mean(list(record[k].values())) if record[k] else float("nan") for k in ("registration", "final")]
    print(wanted.name, query, fusion or atlases[0], *(f"{m:.3f}" for m in means), file=sys.stderr, flush=True)


def _dices(labels, truth, values):
    from atlassegfm.overlap import dice

    return {v: dice(labels.data == v, truth.labels.data == v) for v in values if v in truth.values}
