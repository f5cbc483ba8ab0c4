"""Table, JSON and page of a cohort."""

import csv
import io
import json
import re
import shutil
import subprocess

import pytest
from PIL import Image

from atlassegfm.cohort.queries import Query
from atlassegfm.cohort.records import CaseRecord
from atlassegfm.cohort.runner import STATE, Cohort
from atlassegfm.cohort.settings import CohortSettings
from atlassegfm.cohort.summary import CSV_COLUMNS, counts, summarise, write_summaries


@pytest.fixture
def cohort(tmp_path):
    """Ten good ones, one of them far larger, one to check, one not to use, one that failed, one not done."""
    words = ["good"] * 10 + ["check", "do not use"]
    records = []
    for n, word in enumerate(words):
        labels = [
            {"value": 1, "name": "liver <b>", "volume_ml": 50.0 if n == 3 else 10.0, "quality": quality(word)},
            {"value": 2, "name": "spleen", "volume_ml": 2.0, "quality": quality("good")},
        ]
        outputs = {f"q{n}_qc.png": "0" * 64}
        records.append(CaseRecord(f"q{n}", f"q{n}.nii.gz", "key", seconds=n, labels=labels, outputs=outputs))
    records.append(CaseRecord("bad", "bad.nii.gz", "key", error="=no <i>such</i> file", kind="input"))
    (tmp_path / STATE / "thumbnails").mkdir(parents=True)
    Image.new("RGB", (30, 20), "red").save(tmp_path / STATE / "thumbnails" / "q0.jpg")
    queries = [Query(tmp_path / f"{r.name}.nii.gz", r.name) for r in records] + [Query(tmp_path / "late", "late")]
    return Cohort(tmp_path, queries, {record.name: record for record in records})


def quality(word):
    return {"word": word, "score": 0.5, "reasons": [] if word == "good" else ["models disagree"]}


def write(cohort):
    write_summaries(cohort, CohortSettings(cohort.folder / "a.nii", cohort.folder / "b.nii", options={"seed": 0}))
    return (cohort.folder / "index.html").read_text(encoding="utf-8")


def test_words_are_the_worst_label_and_outliers_are_to_check(cohort):
    cases = {case.record.name: case for case in summarise(cohort)}
    assert cases["q0"].word == "good"
    assert (cases["q3"].word, list(cases["q3"].outliers)) == ("check", [1])
    assert counts(list(cases.values())) == {"good": 9, "check": 2, "do not use": 1, "failed": 1}


def test_the_table_has_a_row_per_label_and_no_formula(cohort):
    write(cohort)
    rows = list(csv.DictReader(io.StringIO((cohort.folder / "summary.csv").read_text(encoding="utf-8"))))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == 12 * 2 + 1
    assert (rows[6]["quality"], rows[6]["volume_ml"]) == ("check", "50.0000")
    assert "times the cohort's median" in rows[6]["outlier"]
    assert rows[-1]["error"].startswith("'=no")


def test_the_json_names_no_folder(cohort):
    write(cohort)
    text = (cohort.folder / "cohort.json").read_text(encoding="utf-8")
    found = json.loads(text)
    assert str(cohort.folder) not in text
    assert found["missing"] == ["late"]
    assert [case["status"] for case in found["cases"]].count("done") == 12


def test_the_page_is_whole_in_itself_and_has_the_urgent_on_top(cohort):
    page = write(cohort)
    assert re.findall(r"(?:src|href)=\"(?!data:|q\d+_qc\.png)", page) == []
    assert "liver &lt;b&gt;" in page
    assert "<i>such" not in page
    assert re.findall(r'<tr data-word="([^"]+)"', page)[:4] == ["failed", "do not use", "check", "check"]


SCRIPT = """<script>
const rows = () => [...document.querySelector("#cases tbody").rows];
const state = () => rows().filter(r => !r.hidden).map(r => r.cells[1].dataset.key);
const out = { first: state() };
document.querySelector("[data-filter=first]").click(); out.check = state();
document.querySelector("[data-filter=all]").click();
const head = [...document.querySelectorAll("#cases th button")];
head.find(b => b.textContent.startsWith("liver")).click(); out.up = state();
head.find(b => b.textContent.startsWith("liver")).click(); out.down = state();
const search_for = document.querySelector("#search");
search_for.value = "disagree"; search_for.dispatchEvent(new Event("input"));
out.found = state(); out.text = document.querySelector("#shown").textContent;
document.title = "result " + JSON.stringify(out);
</script>"""


def test_the_page_sorts_filters_and_searches_in_a_browser(cohort):
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium here")
    page = cohort.folder / "test.html"
    page.write_text(write(cohort).replace("</body>", SCRIPT + "</body>"), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={cohort.folder / 'profile'}"]
    done = subprocess.run(
        [browser, *flags, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=120, check=False
    )
    title = re.search(r"<title>result (.*?)</title>", done.stdout)
    assert title, done.stdout[:2000] + done.stderr[-2000:]
    found = json.loads(title[1].replace("&quot;", '"').replace("&amp;", "&"))
    assert found["first"][:2] == ["bad", "q11"]
    assert sorted(found["check"]) == ["q10", "q11", "q3"]
    assert found["up"][-2:] == ["q3", "bad"]
    assert found["down"][0] == "q3"
    assert found["down"][-1] == "bad"
    assert sorted(found["found"]) == ["q10", "q11"]
    assert found["text"] == "2 of 13 shown"
