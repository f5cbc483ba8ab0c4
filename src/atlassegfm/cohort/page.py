"""``index.html``: a cohort on one self-contained page."""

from __future__ import annotations

import base64
from collections import defaultdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlassegfm.cohort.page_template import PAGE
from atlassegfm.io import write_text_atomic

if TYPE_CHECKING:
    from atlassegfm.cohort.runner import Cohort
    from atlassegfm.cohort.summary import CaseSummary

#: More labels than this get no columns of their own; their volumes are in summary.csv.
MOST_COLUMNS = 8
#: More names than this are not listed before a reason.
MOST_NAMES = 4
#: Where a word stands when the table is sorted by urgency.
URGENCY = {"failed": 3, "do not use": 2, "check": 1, "good": 0}


def write_page(cohort: Cohort, cases: list[CaseSummary]) -> None:
    """Write the page into the cohort's folder: those to check first on top."""
    from jinja2 import Environment

    from atlassegfm.cohort.summary import counts

    labels: dict[int, str] = {}
    for case in cases:
        labels.update({label["value"]: label["name"] for label in case.record.labels})
    shown = dict(sorted(labels.items())[:MOST_COLUMNS])
    rows = [_row(case, shown, cohort.folder) for case in cases]
    # A stable sort: equally urgent cases stay in the cohort's order.
    rows.sort(key=lambda row: -row["urgency"])
    page = Environment(autoescape=True).from_string(PAGE)
    text = page.render(
        total=cohort.total,
        counts=counts(cases),
        state=cohort.state,
        written=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        missing=len(cohort.missing),
        labels=shown,
        more_labels=len(labels) - len(shown),
        rows=rows,
    )
    write_text_atomic(cohort.folder / "index.html", text)


def _row(case: CaseSummary, labels: dict[int, str], folder: Path) -> dict[str, Any]:
    record = case.record
    by_value = {label["value"]: label for label in record.labels}
    cells = []
    for value in labels:
        label = by_value.get(value)
        cells.append(
            None
            if label is None
            else {
                "volume": f"{label['volume_ml']:.2f}",
                "word": case.label_word(label),
                "why": "; ".join([*label["quality"].get("reasons", []), *_outlier(case, value)]),
            }
        )
    return {
        "name": record.name,
        "source": record.source,
        "word": case.word,
        "urgency": URGENCY[case.word],
        "why": record.error or "; ".join(_reasons(case)),
        "cells": cells,
        "seconds": f"{record.seconds:.1f}",
        "picture": next((name for name in record.outputs if name.endswith("_qc.png")), ""),
        "thumbnail": _thumbnail(folder / ".cohort" / "thumbnails" / f"{record.name}.jpg") if not record.error else "",
    }


def _outlier(case: CaseSummary, value: int) -> list[str]:
    return [case.outliers[value]] if value in case.outliers else []


def _reasons(case: CaseSummary) -> list[str]:
    """What there is to say, each thing once with the labels that it is said of."""
    labels: dict[str, list[str]] = defaultdict(list)
    for label in case.record.labels:
        if case.label_word(label) != "good":
            for reason in [*label["quality"].get("reasons", []), *_outlier(case, label["value"])]:
                labels[reason].append(label["name"])
    total = len(case.record.labels)
    return [f"{_listed(names, total)}: {reason}" for reason, names in labels.items()]


def _listed(names: list[str], total: int) -> str:
    if len(names) == total > 1:
        return f"all {total} labels"
    return ", ".join(names[:MOST_NAMES]) + (f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else "")


def _thumbnail(path: Path) -> str:
    """JPEG in base64; empty when it is not there, which costs the page a picture and no more."""
    return base64.b64encode(path.read_bytes()).decode("ascii") if path.is_file() else ""
