"""Rows, CSV, summaries and pages, from records whose numbers are known."""

import csv
import json
import re

import numpy as np
import pytest

from atlassegfm.evaluation import api
from atlassegfm.evaluation.methods import PRESETS
from atlassegfm.evaluation.metrics import METRICS
from atlassegfm.evaluation.statistics import summarise

METHODS = tuple(PRESETS[name] for name in ("default", "model", "registration"))


def read_rows(folder):
    with (folder / "results.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_has_the_promised_columns_and_all_rows(evaluated):
    folder, _ = evaluated
    rows = read_rows(folder)
    assert list(rows[0]) == [
        "fold", "atlas", "query", "method", "label", "dice", "nsd", "hd95", "assd", "cldice", "volume_difference_ml",
        "volume_difference_percent", "seconds", "peak_mb", "status",
    ]  # fmt: skip
    assert len(rows) == 3 * 4 * 2  # methods, pairs (two folds of three), labels
    failed = [r for r in rows if r["status"] == "failed"]
    assert len(failed) == 6
    assert {r["dice"] for r in failed} == {"0.000000"}
    assert all(float(r["seconds"]) == {"default": 3, "model": 2, "registration": 1}[r["method"]]
               for r in rows if r["status"] == "ok")  # fmt: skip


def test_summary_counts_failures_as_zero(evaluated):
    folder, summary = evaluated
    rows = read_rows(folder)
    for method in ("default", "model", "registration"):
        by_query = {}
        for row in rows:
            if row["method"] == method:
                by_query.setdefault(row["query"], []).append(float(row["dice"]))
        cases = [np.mean(v) for v in by_query.values()]
        assert 0.0 in cases
        found = summary["overall"][method]["dice"]
        expected = summarise(cases, 0)
        assert found["n"] == 4
        assert found["mean"] == pytest.approx(expected.mean, abs=1e-6)
        assert found["sd"] == pytest.approx(expected.sd, abs=1e-6)
        assert found["ci95"] == pytest.approx([expected.low, expected.high], abs=1e-6)
    assert summary["overall"]["default"]["dice"]["p"] is None
    assert 0 < summary["overall"]["model"]["dice"]["p"] <= 1
    assert [f["method"] for f in summary["failures"]] == ["default", "model", "registration"]
    assert summary["cost"]["model"] | {"peak_mb_max": 0} == {
        "pairs": 3, "seconds_mean": 2.0, "seconds_median": 2.0, "seconds_max": 2.0, "peak_mb_max": 0,
        "learnable_parameters": 1007, "trees": 0, "steps": {"registration": 1.0},
    }  # fmt: skip


def test_summary_json_is_strict_json_and_equals_what_is_returned(evaluated):
    folder, summary = evaluated

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    assert json.loads((folder / "summary.json").read_text(encoding="utf-8"), parse_constant=refuse) == json.loads(
        json.dumps(summary)
    )
    assert summary["labels_not_scored"] == [7]
    assert summary["reference"] == "default"


def test_per_label_means(evaluated):
    folder, summary = evaluated
    rows = [r for r in read_rows(folder) if r["method"] == "registration" and r["label"] == "2"]
    mean = np.mean([float(r["hd95"]) for r in rows])
    assert summary["per_label"]["2"]["registration"]["hd95"]["mean"] == pytest.approx(mean, abs=1e-6)


def test_repeats_exactly_but_for_time(toy, tmp_path, copying, monkeypatch):
    monkeypatch.setattr(api, "check_available", lambda methods: None)
    texts = []
    for name in ("one", "two"):
        api.evaluate(api.Request(toy.folder, tmp_path / name, METHODS, folds=2), isolate=False)
        texts.append([{k: v for k, v in r.items() if k != "peak_mb"} for r in read_rows(tmp_path / name)])
    assert texts[0] == texts[1]


def test_markdown_says_what_a_reader_needs(evaluated):
    folder, summary = evaluated
    text = (folder / "summary.md").read_text(encoding="utf-8")
    for wanted in (
        "# Toy: evaluation",
        "atlassegfm evaluate data -o out",
        "no alignment <here> & now",
        "default, model, registration",
        "in no atlas and no truth, so not scored: nowhere",
        "| first box (1) | 4 |",
        "95 % interval",
        f"{summary['overall']['default']['dice']['mean']:.3f}",
    ):
        assert wanted in text, wanted


def test_html_is_one_file_and_escapes_what_it_shows(evaluated):
    folder, _ = evaluated
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "no alignment &lt;here&gt; &amp; now" in text
    assert "<here>" not in text
    assert text.count("<svg") == 4
    assert text.count('src="data:image/png;base64,') == 3  # three pairs that did not fail
    for outside in ('src="http', "<link", "<script", 'href="http'):
        assert outside not in text
    for metric in ("dice", "nsd", "hd95"):
        assert METRICS[metric].title in text


def test_worst_cases_come_first_with_their_worst_label(evaluated):
    folder, _ = evaluated
    cases = {}
    for row in read_rows(folder):
        if row["method"] == "default" and row["status"] == "ok":
            cases.setdefault(row["query"], {})[row["label"]] = float(row["dice"])
    means = sorted(np.mean(list(values.values())) for values in cases.values())
    assert means[0] < means[-1]
    text = " ".join((folder / "report.html").read_text(encoding="utf-8").split())
    told = re.findall(r"<b>(\w+)</b> from \w+: mean Dice ([\d.]+); worst label (\w+) box, Dice ([\d.]+)", text)
    assert [float(mean) for _, mean, _, _ in told] == pytest.approx(means, abs=5e-4)
    for query, _, label, dice in told:
        assert float(dice) == pytest.approx(min(cases[query].values()), abs=5e-4)
        assert cases[query][{"first": "1", "second": "2"}[label]] == min(cases[query].values())


def test_no_path_of_this_machine_in_the_outputs(evaluated):
    folder, _ = evaluated
    for name in ("results.csv", "summary.json", "summary.md", "report.html"):
        assert str(folder.parent) not in (folder / name).read_text(encoding="utf-8"), name
