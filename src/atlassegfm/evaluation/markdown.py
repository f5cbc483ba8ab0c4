"""``summary.md``: the numbers of an evaluation as a page that reads well as plain text, too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from atlassegfm.evaluation.metrics import METRICS

#: Metrics that get a table of their own with spread, interval and test.
DETAILED = ("dice", "nsd", "hd95", "assd", "cldice", "volume_difference_percent")
#: Metrics of the overview; signed differences cancel out in a mean and say little there.
OVERVIEW = ("dice", "nsd", "hd95", "assd", "cldice")
#: Header and body of a table.
Grid = tuple[list[str], list[list[str]]]
#: More labels than this are not listed one by one; they are in results.csv and summary.json.
MOST_LABELS = 40


def table(header: Sequence[str], body: Sequence[Sequence[str]], align: str = "") -> str:
    """A Markdown table; `align` has one of ``l`` and ``r`` per column, the first column is left by default."""
    align = align or "l" + "r" * (len(header) - 1)
    rule = [{"l": "---", "r": "---:"}[a] for a in align]
    lines = [header, rule, *body]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines)


def number(value: float | None, digits: int) -> str:
    """A number with fixed digits, a dash for none."""
    return "–" if value is None else f"{value:.{digits}f}"


def p_text(p: float | None) -> str:
    """A p value as tables print it."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def seconds_text(seconds: float | None) -> str:
    """Seconds with one decimal, two below ten."""
    return number(seconds, 2 if seconds is not None and seconds < 10 else 1)


def plus_minus(found: dict[str, Any], digits: int) -> str:
    """Mean and SD; one value has no SD."""
    mean = number(found["mean"], digits)
    return f"{mean} ± {number(found['sd'], digits)}" if found["n"] > 1 else mean


def pair_count(summary: dict[str, Any]) -> str:
    """How many pairs there are, in words."""
    pairs = len(summary["protocol"]["pairs"])
    return "1 pair" if pairs == 1 else f"{pairs} pairs"


def summary_markdown(summary: dict[str, Any]) -> str:
    """The whole page."""
    dataset, protocol = summary["dataset"], summary["protocol"]
    parts = [
        f"# {dataset['name']}: evaluation",
        "\n".join(f"- {key}: {text}" for key, text in facts(summary)),
        "## Methods",
        "Mean ± SD over pairs, each pair's value being the mean over its labels. Failed pairs count as the worst "
        f"value. NSD tolerance {protocol['tolerance_mm']:g} mm.",
        table(*overview(summary)),
        *(f"**Notice:** {text}" for text in notices(summary)),
        "## Details",
        f"95 % interval: percentile bootstrap of the mean over pairs, seed {protocol['seed']}. p: two-sided paired "
        f"Wilcoxon signed-rank test against **{summary['reference']}**, not corrected for the number of tests.",
        *(f"### {METRICS[name].title}\n\n{table(*detail(summary, name))}" for name in DETAILED),
        "## Dice per label",
        table(*per_label(summary, "dice")),
        *([f"{more_labels(summary)} more labels are in summary.json."] if more_labels(summary) else []),
        "## Failures",
        table(*failure_list(summary), "lllll") if summary["failures"] else "None.",
    ]
    return "\n\n".join(parts) + "\n"


def facts(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Data, protocol, command, code and machine, as pairs of heading and text."""
    dataset, protocol, machine = summary["dataset"], summary["protocol"], summary["environment"]
    pairs = "one pair" if machine["jobs"] == 1 else f"{machine['jobs']} pairs"
    packages = ", ".join(f"{name} {v}" for name, v in machine["packages"].items() if v)
    return [
        ("Data", ", ".join(t for t in (dataset["name"], f"{dataset['cases']} cases", dataset["modality"]) if t)),
        ("Licence of the data", dataset["licence"] or "not stated in dataset.json"),
        (
            "Protocol",
            f"{protocol['description']}; {pair_count(summary)}, {len(summary['labels'])} labels, "
            f"seed {protocol['seed']}",
        ),
        ("Command", machine["command"]),
        ("Code", f"atlassegfm {machine['atlassegfm']}, commit {machine['commit'] or 'unknown'}"),
        (
            "Machine",
            f"{machine['machine']}, {machine['cores']} cores, {machine['memory_gb'] or '?'} GB, "
            f"{machine['gpu'] or 'no GPU'}, {pairs} at a time",
        ),
        ("Versions", f"Python {machine['python']}, {packages}"),
    ]


def notices(summary: dict[str, Any]) -> list[str]:
    """What the reader must know before comparing numbers."""
    found = list(summary["protocol"]["notices"])
    if summary["labels_not_scored"]:
        names = ", ".join(summary["labels"][str(v)] for v in summary["labels_not_scored"])
        found.append(f"in no atlas and no truth, so not scored: {names}")
    return found + truth_note(summary) + left_out_notes(summary)


def left_out_notes(summary: dict[str, Any]) -> list[str]:
    """A sentence for each thing that is missing here, with the methods that could not run for want of it."""
    wanting: dict[str, list[str]] = {}
    for name, needs in summary.get("left_out", {}).items():
        wanting.setdefault(needs, []).append(name)
    return [f"not run: {'; '.join(names)} (needs {needs})" for needs, names in wanting.items()]


def overview(summary: dict[str, Any]) -> Grid:
    """One line per method: every metric, cost, failures; header and body."""
    header = ["Method", "Pairs", "Failed", *(METRICS[k].title for k in OVERVIEW), "s / pair", "Peak MB"]
    body = []
    for name, found in summary["overall"].items():
        failed = sum(f["method"] == name for f in summary["failures"])
        cost = summary["cost"][name]
        body.append(
            [
                name,
                str(len(summary["protocol"]["pairs"])),
                str(failed),
                *(plus_minus(found[key], METRICS[key].digits) for key in OVERVIEW),
                seconds_text(cost["seconds_mean"]),
                number(cost["peak_mb_max"], 0),
            ]
        )
    return header, body


def truth_note(summary: dict[str, Any]) -> list[str]:
    """A sentence that names the methods which are shown the truth; no sentence when there are none."""
    seeing = [name for name, settings in summary["methods"].items() if settings["sees_truth"]]
    if not seeing:
        return []
    return [f"These methods are shown the query's true labels (bounds and simulated users): {', '.join(seeing)}."]


def detail(summary: dict[str, Any], metric: str) -> Grid:
    """Mean, SD, median, interval and test of one metric for each method."""
    digits = METRICS[metric].digits
    body = []
    for name, found in summary["overall"].items():
        s = found[metric]
        values = [number(s[k], digits) for k in ("mean", "sd", "median")]
        interval, p = f"{number(s['ci95'][0], digits)} to {number(s['ci95'][1], digits)}", p_text(s["p"])
        if s["n"] < 2:  # one value has no spread, and nothing can be tested on it
            values[1], interval, p = "–", "–", "–"
        body.append([name, str(s["n"]), *values, interval, p])
    return ["Method", "n", "Mean", "SD", "Median", "95 % interval", "p"], body


def per_label(summary: dict[str, Any], metric: str) -> Grid:
    """Mean of one metric, labels down and methods across; the first `MOST_LABELS` labels."""
    methods = list(summary["overall"])
    digits = METRICS[metric].digits
    labels = list(summary["per_label"])
    body = [
        [
            f"{summary['labels'][v]} ({v})",
            str(summary["per_label"][v][methods[0]][metric]["n"]),
            *(number(summary["per_label"][v][m][metric]["mean"], digits) for m in methods),
        ]
        for v in labels[:MOST_LABELS]
    ]
    return ["Label", "n", *methods], body


def more_labels(summary: dict[str, Any]) -> int:
    """How many labels `per_label` leaves out."""
    return max(0, len(summary["per_label"]) - MOST_LABELS)


def failure_list(summary: dict[str, Any]) -> Grid:
    """Every failed pair with its reason; methods that one run serves fail together and share a line."""
    shared: dict[tuple, list[str]] = {}
    for f in summary["failures"]:
        shared.setdefault((f["fold"], f["atlas"], f["query"], f["error"]), []).append(f["method"])
    body = [
        [str(fold), atlas, query, ", ".join(methods), error] for (fold, atlas, query, error), methods in shared.items()
    ]
    return ["Fold", "Atlas", "Query", "Methods", "Reason"], body
