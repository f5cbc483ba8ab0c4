"""Measure what several atlases bring over one, and write docs/results/atlases.md.

For each query of a set: every atlas alone, then all of them together by each label fusion, registration alone and with
the built-in model. An interrupted run continues when repeated: registrations and results are kept in the folder --out.

    python benchmarks/atlases.py                     # all sets of ../shared/data
    python benchmarks/atlases.py --only hippocampus  # this set; the page keeps what was measured of the others
    python benchmarks/atlases.py --page-only         # measure nothing, write the page from what is there
"""

from __future__ import annotations

import argparse
import json
import os
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


def measure(wanted, data, out, *, model):
    """All results of one set that are not there yet."""
    from atlassegfm.runtime import prepare_compute

    prepare_compute()
    scans = Scans(data / wanted.name, list(wanted.labels))
    for folder in ("registrations", "results"):
        (out / wanted.name / folder).mkdir(parents=True, exist_ok=True)
    kept = KeptRegistrations(out / wanted.name / "registrations", scans)
    for query, atlases in wanted.queries.items():
        for atlas in atlases:
            _result(out, wanted, query, (atlas,), "", scans, kept, model=model)
        for fusion in FUSIONS:
            # The model learns for a minute; of the label fusions only the default is worth it.
            _result(out, wanted, query, atlases, fusion, scans, kept, model=model and fusion == FUSIONS[0])


def _result(out, wanted, query, atlases, fusion, scans, kept, *, model):
    """One JSON file: Dice per label of registration alone and of the final result."""
    path = out / wanted.name / "results" / f"{query}__{fusion or atlases[0]}.json"
    if path.exists() and (json.loads(path.read_text())["final"] or not model):
        return
    from atlassegfm.pipeline import segment

    given = [scans.atlas(case) for case in atlases]
    truth = scans.atlas(query)
    options = {"label_fusion": fusion} if fusion else {}
    options["model"] = "builtin" if model else "none"
    found = segment(given if fusion else given[0], truth.image, cache=kept, device="cpu", **options)
    timings = found.report["timings"]
    saved = found.report.get("seconds_saved", {})
    record = {
        "query": query,
        "atlases": atlases,
        "fusion": fusion,
        "registration": _dices(found.atlas_labels, truth, wanted.labels),
        "final": _dices(found.labels, truth, wanted.labels) if model else None,
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


def write_page(page, out):
    """Write the page from the results that are there."""
    from atlassegfm.io import write_text_atomic

    parts = [INTRODUCTION]
    for wanted in SETS:
        found = [json.loads(path.read_text()) for path in sorted((out / wanted.name / "results").glob("*.json"))]
        parts.append(f"## {wanted.name}\n\n{_set_text(wanted, found) if found else 'Not measured.'}\n")
    write_text_atomic(page, "\n".join(parts))
    print(f"written: {os.path.relpath(page)}")


INTRODUCTION = """<!-- Generated by benchmarks/atlases.py. Do not edit: the next run replaces this page. -->

# Several atlases

What several labelled scans bring over one ([how to use them](../how-to-several-atlases.md)). Dice, mean over labels,
then over queries. Each query is segmented from every atlas alone and from all of them together; a query's labels are
used for measuring only. *Mean atlas* is the mean over the atlases alone, *best atlas* the one that is best on average
over the queries, *best for each query* what nobody can know beforehand. The scans are few; parameters were chosen on
other queries, but for the size of patches on small scans ([decision 15](../decisions/0015-several-atlases.md)).

`python benchmarks/atlases.py` measures and writes this page. Seconds were taken beside other work on the machine.
"""


def _set_text(wanted, found):
    """Tables of one set: of registration alone, and of the queries on which the model was measured, too."""
    lines = [*_table(wanted, found, "registration"), "", *_table(wanted, found, "final"), "", *_queries(wanted, found)]
    return "\n".join(lines)


def _complete(wanted, found, kind):
    """Per query the atlases alone and the default fusion, of queries that have them all."""
    measured = [r for r in found if r[kind]]
    out = {}
    for query, atlases in wanted.queries.items():
        alone = [r for r in measured if r["query"] == query and not r["fusion"]]
        fused = [r for r in measured if r["query"] == query and r["fusion"]]
        if len(alone) == len(atlases) and any(r["fusion"] == FUSIONS[0] for r in fused):
            out[query] = alone, fused
    return out


def _table(wanted, found, kind):
    """Means over queries."""
    complete = _complete(wanted, found, kind)
    title = "Registration alone" if kind == "registration" else "With the built-in model"
    if not complete:
        return [f"{title}: not measured."]
    lines = [f"{title}, {len(complete)} of {len(wanted.queries)} queries:", ""]
    lines += ["| | Dice | s / query |", "| --- | ---: | ---: |"]
    alone = [r for rows, _ in complete.values() for r in rows]
    lines.append(_row("mean atlas", alone, kind))
    shared = set.intersection(*({r["atlases"][0] for r in rows} for rows, _ in complete.values()))
    if shared:
        each = {a: [r for r in alone if r["atlases"] == [a]] for a in sorted(shared)}
        best = max(each, key=lambda a: _mean(each[a], kind))
        lines.append(_row(f"best atlas ({best})", each[best], kind))
    tops = [max(rows, key=lambda r: _dice(r, kind)) for rows, _ in complete.values()]
    lines.append(_row("best for each query", tops, kind))
    for fusion in FUSIONS:
        rows = [r for _, fused in complete.values() for r in fused if r["fusion"] == fusion]
        lines += [_row(f"**all, {fusion}**", rows, kind)] if len(rows) == len(complete) else []
    return lines


def _row(name, records, kind):
    return f"| {name} | {_mean(records, kind):.3f} | {np.mean([r['seconds'] for r in records]):.0f} |"


def _dice(record, kind):
    """Mean over labels."""
    return float(np.mean(list(record[kind].values())))


def _mean(records, kind):
    return float(np.mean([_dice(record, kind) for record in records]))


def _queries(wanted, found):
    """Per query: the atlases alone, and all together."""
    lines = [
        *("Registration alone, query by query:", ""),
        "| query | each atlas alone | all, joint | left out |",
        "| --- | --- | ---: | --- |",
    ]
    for query, (rows, fused) in _complete(wanted, found, "registration").items():
        alone = ", ".join(f"{_dice(r, 'registration'):.3f}" for r in sorted(rows, key=lambda r: r["atlases"]))
        joint = next(r for r in fused if r["fusion"] == FUSIONS[0])
        left = ", ".join(joint["atlases"][n - 1] for n in joint["left_out"]) or "none"
        lines.append(f"| {query} | {alone} | {_dice(joint, 'registration'):.3f} | {left} |")
    return lines


def main():
    """Read the options, measure, write."""
    names = [wanted.name for wanted in SETS]
    parser = argparse.ArgumentParser(description="measure several atlases and write docs/results/atlases.md")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the sets")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "atlases", help="folder for the results")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results" / "atlases.md", help="the page to write")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="sets to measure")
    parser.add_argument("--registration-alone", action="store_true", help="leave the model out, which is quicker")
    parser.add_argument("--page-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    out = arguments.out.resolve()
    for wanted in () if arguments.page_only else SETS:
        if wanted.name in arguments.only and (arguments.data / wanted.name).is_dir():
            measure(wanted, arguments.data.resolve(), out, model=not arguments.registration_alone)
    write_page(arguments.page.resolve(), out)


if __name__ == "__main__":
    main()
