"""``summary.csv``, ``cohort.json`` and ``index.html``: a cohort summed up."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from typing import Any

from atlassegfm.cohort.outliers import find_outliers
from atlassegfm.cohort.records import CaseRecord
from atlassegfm.cohort.runner import Cohort
from atlassegfm.cohort.settings import CohortSettings
from atlassegfm.io import write_text_atomic
from atlassegfm.quality.verdict import CHECK, DO_NOT_USE, GOOD
from atlassegfm.report.json_report import to_json, versions

#: From best to worst; what failed comes last.
WORDS = (GOOD, CHECK, DO_NOT_USE)
FAILED = "failed"
SCHEMA = 1
CSV_COLUMNS = (
    "name", "source", "status", "label", "label_name", "volume_ml", "quality", "score", "score_low", "score_high",
    "reasons", "outlier",
    "elongation", "sphericity", "components", "warnings", "seconds", "error",
)  # fmt: skip


@dataclass(frozen=True)
class CaseSummary:
    """One case as the page and the tables show it.

    Parameters
    ----------
    record : CaseRecord
        What came out.
    outliers : dict of int to str
        Labels whose volume stands out, and how.
    """

    record: CaseRecord
    outliers: dict[int, str]

    @property
    def word(self) -> str:
        """The worst of its labels' words, at least "check" for an outlier; `FAILED` when it did."""
        if self.record.error:
            return FAILED
        return max((self.label_word(label) for label in self.record.labels), key=WORDS.index, default=CHECK)

    @property
    def status(self) -> str:
        """Either "done" or "failed"."""
        return FAILED if self.record.error else "done"

    def label_word(self, label: dict[str, Any]) -> str:
        """The word of one label, outliers counted."""
        word = label["quality"].get("word", CHECK)
        return CHECK if word == GOOD and label["value"] in self.outliers else word


def summarise(cohort: Cohort) -> list[CaseSummary]:
    """All cases with their words, in order."""
    outliers = find_outliers(cohort.ordered)
    return [CaseSummary(record, outliers.get(record.name, {})) for record in cohort.ordered]


def counts(cases: list[CaseSummary]) -> dict[str, int]:
    """How many there are of each word."""
    found = Counter(case.word for case in cases)
    return {word: found[word] for word in (*WORDS, FAILED)}


def write_summaries(cohort: Cohort, settings: CohortSettings | None) -> None:
    """Write the three files into the cohort's folder.

    Raises
    ------
    InputError
        If they cannot be written.
    """
    from atlassegfm.cohort.page import write_page

    cases = summarise(cohort)
    write_text_atomic(cohort.folder / "summary.csv", to_csv(cases))
    write_text_atomic(cohort.folder / "cohort.json", to_json(to_dict(cohort, cases, settings)))
    write_page(cohort, cases)


def to_csv(cases: list[CaseSummary]) -> str:
    """One row per query and label; a failed query has one row without label."""
    stream = io.StringIO()
    table = csv.DictWriter(stream, CSV_COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    for case in cases:
        record = case.record
        common = {
            "name": record.name,
            "source": record.source,
            "status": case.status,
            "warnings": _join(record.warnings),
            "seconds": f"{record.seconds:.2f}",
            "error": record.error,
        }
        for label in record.labels or [None]:
            row = common if label is None else common | _label_cells(case, label)
            table.writerow({key: _harmless(value) for key, value in row.items()})
    return stream.getvalue()


def _label_cells(case: CaseSummary, label: dict[str, Any]) -> dict[str, Any]:
    quality = label["quality"]
    score = quality.get("score")
    return {
        "label": label["value"],
        "label_name": label["name"],
        "volume_ml": f"{label['volume_ml']:.4f}",
        "quality": case.label_word(label),
        "score": "" if score is None else f"{score:.3f}",
        **dict(zip(("score_low", "score_high"), (f"{end:.3f}" for end in quality.get("interval", ())), strict=False)),
        "reasons": _join(quality.get("reasons", [])),
        "outlier": case.outliers.get(label["value"], ""),
        **{key: (label.get("shape") or {}).get(key, "") for key in ("elongation", "sphericity", "components")},
    }


def _join(texts: list[str]) -> str:
    return "; ".join(" ".join(str(text).split()) for text in texts)


def _harmless(value: object) -> object:
    """Text that a spreadsheet would take for a formula gets a quote in front."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "@", "\t") else value


def to_dict(cohort: Cohort, cases: list[CaseSummary], settings: CohortSettings | None) -> dict[str, Any]:
    """The cohort, ready for JSON; no folders, which differ between machines and may name patients."""
    return {
        "schema": SCHEMA,
        "program": "atlassegfm",
        "counts": counts(cases),
        "queries": cohort.total,
        "resumed": cohort.resumed,
        "state": cohort.state,
        "interrupted": cohort.interrupted,
        "missing": cohort.missing,
        "parameters": None if settings is None else {**settings.options, "formats": list(settings.formats)},
        "cases": [_case(case) for case in cases],
        "versions": versions(),
    }


def _case(case: CaseSummary) -> dict[str, Any]:
    record = case.record
    facts = {"name": record.name, "source": record.source, "status": case.status, "word": case.word}
    if record.error:
        return {**facts, "error": record.error, "kind": record.kind, "seconds": record.seconds}
    labels = [{**label, "outlier": case.outliers.get(label["value"])} for label in record.labels]
    return {
        **facts,
        "seconds": record.seconds,
        "peak_mb": record.peak_mb,
        "labels": labels,
        "warnings": record.warnings,
        "outputs": record.outputs,
    }
