"""Summaries while a cohort runs."""

import json

from atlassegfm.cohort import live
from atlassegfm.cohort.live import LiveSummaries
from atlassegfm.cohort.records import CaseRecord
from atlassegfm.cohort.runner import STATE, Cohort


def cohort_in(scans, **more):
    (scans.out / STATE / "records").mkdir(parents=True)
    return Cohort(scans.out, [scans.query("a"), scans.query("b")], **more)


def told(scans):
    return json.loads((scans.out / "cohort.json").read_text(encoding="utf-8"))


def test_what_is_there_is_written_at_once_and_then_not_too_often(scans, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: clock[0])
    cohort = cohort_in(scans)
    summaries = LiveSummaries(cohort, scans.settings)
    summaries.update()
    assert (told(scans)["state"], told(scans)["missing"]) == ("running", ["a", "b"])
    assert "still going on" in (scans.out / "index.html").read_text(encoding="utf-8")
    cohort.records["a"] = CaseRecord("a", "a.nii.gz", "key")
    summaries.update()
    assert told(scans)["missing"] == ["a", "b"]
    clock[0] += 3
    summaries.update()
    assert told(scans)["missing"] == ["b"]
    cohort.running = False
    summaries.finish()
    assert told(scans)["state"] == "finished"
    assert "still going on" not in (scans.out / "index.html").read_text(encoding="utf-8")


def test_a_part_sums_up_what_the_others_have_done_and_only_at_its_end(scans):
    cohort = cohort_in(scans, part=True)
    CaseRecord("other", "other.nii.gz", "key").write(scans.out / STATE / "records" / "other.json")
    summaries = LiveSummaries(cohort, scans.settings)
    summaries.update()
    assert not (scans.out / "cohort.json").exists()
    summaries.finish()
    assert [case["name"] for case in told(scans)["cases"]] == ["other"]
    assert told(scans)["missing"] == ["a", "b"]
