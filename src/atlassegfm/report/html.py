"""``report.html``: an evaluation on one self-contained page, with figures and the worst cases."""

from __future__ import annotations

import base64
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlassegfm.errors import AtlasSegError
from atlassegfm.evaluation import markdown
from atlassegfm.evaluation.metrics import METRICS
from atlassegfm.evaluation.tables import Row, case_values
from atlassegfm.io import read_image, read_labels, write_text_atomic
from atlassegfm.report.figures import box_plot, grouped_box_plot, time_plot
from atlassegfm.report.template import PAGE
from atlassegfm.report.worst import comparison_picture

if TYPE_CHECKING:
    from atlassegfm.evaluation.runner import Evaluation

#: Pictures on the page.
WORST = 6
#: More labels or methods than this make the figure per label unreadable.
MOST_LABELS, MOST_METHODS = 16, 7
_SECTIONS = [
    ("overview", "Overview"), ("details", "Details"), ("labels", "Labels"), ("time", "Quality and time"),
    ("worst", "Worst cases"), ("failures", "Failures"), ("facts", "Data, machine, versions"),
]  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """Text of a table cell and its class: "", "best" or "text"."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class HtmlTable:
    """Header and body of a table."""

    header: list[str]
    body: list[list[Cell]]


def write_report(path: Path, done: Evaluation, rows: Sequence[Row], summary: dict[str, Any]) -> None:
    """Write the page.

    Parameters
    ----------
    path : pathlib.Path
        Target.
    done : Evaluation
        Where scans and predictions lie; predictions are looked for beside `path`.
    rows : sequence of Row
        All results.
    summary : dict
        What ``summary.json`` holds.
    """
    from jinja2 import Environment

    labels = {int(v): name for v, name in summary["labels"].items()}
    page = Environment(autoescape=True).from_string(PAGE)
    protocol = summary["protocol"]
    text = page.render(
        title=f"{summary['dataset']['name']}: evaluation",
        subtitle=f"{markdown.pair_count(summary)} of atlas and query, {protocol['description']}",
        sections=_SECTIONS,
        overview=_overview(summary),
        tolerance=f"{protocol['tolerance_mm']:g}",
        notices=markdown.notices(summary),
        main_figures=_main_figures(rows),
        reference=summary["reference"],
        details=[(METRICS[m].title, _plain(markdown.detail(summary, m))) for m in markdown.DETAILED],
        label_figure=_label_figure(rows, labels),
        label_note=_label_note(rows),
        per_label=_plain(markdown.per_label(summary, "dice")),
        more_labels=markdown.more_labels(summary),
        time_figure=_time_figure(summary),
        worst=worst_cases(path.parent, done, rows, labels),
        failures=_failures(summary),
        facts=markdown.facts(summary),
    )
    write_text_atomic(path, text)


def _plain(grid: markdown.Grid) -> HtmlTable:
    header, body = grid
    return HtmlTable(header, [[Cell(text) for text in line] for line in body])


def _overview(summary: dict[str, Any]) -> HtmlTable:
    """The overview with the best mean of each metric marked."""
    header, body = markdown.overview(summary)
    cells = [[Cell(text) for text in line] for line in body]
    for metric in (METRICS[key] for key in markdown.OVERVIEW):
        column = header.index(metric.title)
        means = [found[metric.name]["mean"] for found in summary["overall"].values()]
        known = [m for m in means if m is not None]
        if not known:
            continue
        best = max(known) if metric.better == "high" else min(known)
        for line, mean in zip(cells, means, strict=True):
            if mean == best:
                line[column] = Cell(line[column].text, "best")
    return HtmlTable(header, cells)


def _failures(summary: dict[str, Any]) -> HtmlTable:
    table = _plain(markdown.failure_list(summary))
    return HtmlTable(table.header, [[*line[:-2], *(Cell(c.text, "text") for c in line[-2:])] for line in table.body])


def _main_figures(rows: Sequence[Row]) -> list[str]:
    figures = []
    for metric in ("dice", "hd95"):
        values = {m: list(cases.values()) for m, cases in case_values(rows, metric).items()}
        figures.append(box_plot(values, f"{METRICS[metric].title}, mean over the labels of a pair"))
    return figures


def _label_figure(rows: Sequence[Row], labels: dict[int, str]) -> str:
    methods = _drawn_methods(rows)
    scored = [v for v in labels if any(r.label == v for r in rows)]
    if not 1 <= len(scored) <= MOST_LABELS:
        return ""
    grouped: dict[str, dict[str, list[float]]] = {}
    for value in scored:
        per_method: dict[str, list[float]] = {m: [] for m in methods}
        for row in rows:
            if row.label == value and row.method in per_method:
                per_method[row.method].append(row.metrics["dice"])
        grouped[labels[value]] = per_method
    return grouped_box_plot(grouped, METRICS["dice"].title)


def _drawn_methods(rows: Sequence[Row]) -> list[str]:
    """Methods of the figure per label: the first `MOST_METHODS`."""
    return list(dict.fromkeys(r.method for r in rows))[:MOST_METHODS]


def _label_note(rows: Sequence[Row]) -> str:
    """A sentence when the figure per label shows some of the methods only."""
    left = len({r.method for r in rows}) - len(_drawn_methods(rows))
    return f"The figure shows the first {MOST_METHODS} methods; {left} more are in the table." if left else ""


def _time_figure(summary: dict[str, Any]) -> str:
    points = {}
    for name, found in summary["overall"].items():
        seconds, dice = summary["cost"][name]["seconds_mean"], found["dice"]
        if seconds and dice["mean"] is not None:
            points[name] = (seconds, dice["mean"], *dice["ci95"])
    return time_plot(points, "Dice, mean over pairs") if points else ""


def worst_cases(folder: Path, done: Evaluation, rows: Sequence[Row], labels: dict[int, str]) -> list[dict[str, str]]:
    """The worst pairs of the reference method that did not fail, with pictures."""
    reference = done.settings.reference
    by_pair: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.method == reference and row.status == "ok":
            by_pair[row.atlas, row.query].append(row)
    means = {pair: sum(r.metrics["dice"] for r in found) / len(found) for pair, found in by_pair.items()}
    cases = []
    for pair in sorted(means, key=lambda p: (means[p], p))[:WORST]:
        row = min(by_pair[pair], key=lambda r: (r.metrics["dice"], r.label))
        png, note = _picture(folder, done, reference, row)
        cases.append(
            {
                "atlas": row.atlas,
                "query": row.query,
                "mean": f"{means[pair]:.3f}",
                "label": labels[row.label],
                "dice": f"{row.metrics['dice']:.3f}" if not math.isnan(row.metrics["dice"]) else "–",
                "png": base64.b64encode(png).decode() if png else "",
                "alt": f"{row.query}: {labels[row.label]}, truth and result",
                "note": note,
            }
        )
    return cases


def _picture(folder: Path, done: Evaluation, method: str, row: Row) -> tuple[bytes | None, str]:
    record, output = next(
        (done.records[pair, run.label], dict(run.serves)[method])
        for pair in done.settings.plan.pairs
        for run in done.runs
        if (pair.atlas, pair.query) == (row.atlas, row.query) and method in dict(run.serves)
    )
    case = done.dataset.case(row.query)
    try:
        query, truth = read_image(case.image), read_labels(case.labels)
        prediction = read_labels(folder / record.output(output).prediction)
    except AtlasSegError as error:
        return None, f"no picture: {error}"
    truth_mask, found_mask = truth.data == row.label, prediction.data == row.label
    if not (truth_mask.any() or found_mask.any()):
        return None, "the label is in neither"
    note = "" if found_mask.any() else "not found"
    return comparison_picture(query, truth_mask, found_mask), note
