"""`atlassegfm bids`: a BIDS App whose derivatives a validator takes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import pytest
from typer.testing import CliRunner

from atlassegfm.cli import app
from atlassegfm.cli_bids import BidsCommand
from atlassegfm.cohort.lock import locked
from atlassegfm.cohort.runner import STATE
from spoilt import FAULTY

pytestmark = pytest.mark.skipif(os.name == "nt", reason="forks")


@pytest.fixture
def raw(scans, tmp_path):
    """A dataset of two subjects, one with two sessions."""
    folder = tmp_path / "raw"
    for name in ("sub-01_ses-1_T1w", "sub-01_ses-2_T1w", "sub-02_T1w"):
        parts = [part for part in name.split("_") if part[:4] in ("sub-", "ses-")]
        place = folder.joinpath(*parts, "anat")
        place.mkdir(parents=True)
        shutil.copyfile(scans.query(name).path, place / f"{name}.nii.gz")
    (folder / "dataset_description.json").write_text(json.dumps({"Name": "raw", "BIDSVersion": "1.10.0"}))
    return folder


def bids(scans, raw, *words):
    atlas = ("--atlas", scans.settings.atlas, "--labels", scans.settings.labels, "--jobs", 1)
    return CliRunner().invoke(app, ["bids", *map(str, (raw, raw / "derivatives" / "ours", *words, *atlas))])


def test_derivatives_have_bids_names_sidecars_and_tables(scans, raw, spoilt_pipeline):
    result = bids(scans, raw, "participant")
    assert result.exit_code == 0, result.stderr
    out = raw / "derivatives" / "ours"
    base = "sub-01/ses-2/anat/sub-01_ses-2_space-orig_desc-atlassegfm_dseg"
    assert {path.relative_to(out).as_posix() for path in out.glob("sub-*/**/*") if path.is_file()} >= {
        f"{base}.nii.gz", f"{base}.json", f"{base}.tsv",
        "sub-01/figures/sub-01_ses-2_desc-atlassegfm_qc.png",
        "sub-02/anat/sub-02_space-orig_desc-atlassegfm_dseg.nii.gz",
    }  # fmt: skip
    table = [line.split("\t") for line in (out / f"{base}.tsv").read_text().splitlines()]
    assert [row[:2] for row in table] == [["index", "name"], ["1", "liver"], ["3", "spleen"]]
    assert all(len(row[2]) == 7 for row in table[1:])
    sidecar = json.loads((out / f"{base}.json").read_text())
    assert sidecar["Sources"] == ["bids:raw:sub-01/ses-2/anat/sub-01_ses-2_T1w.nii.gz"]
    assert sidecar["AtlasSegFM"]["labels"][0]["name"] == "liver"
    source = raw / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_T1w.nii.gz"
    assert (nib.load(out / f"{base}.nii.gz").affine == nib.load(source).affine).all()
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert description["GeneratedBy"][0]["Name"] == "AtlasSegFM"
    assert (out / description["DatasetLinks"]["raw"]).resolve() == raw.resolve()


def test_run_again_everything_is_done_and_links_of_the_page_lead_somewhere(scans, raw, spoilt_pipeline):
    assert bids(scans, raw, "participant").exit_code == 0
    again = bids(scans, raw, "participant", "--json")
    assert json.loads(again.stdout)["resumed"] == 3
    out = raw / "derivatives" / "ours"
    page = (out / "index.html").read_text()
    for path in out.rglob("*_qc.png"):
        assert f'href="{path.relative_to(out).as_posix()}"' in page


def test_a_job_for_each_participant_and_the_group_level_sums_up(scans, raw, spoilt_pipeline):
    assert bids(scans, raw, "group").exit_code == 2
    state = raw / "derivatives" / "ours" / STATE
    assert bids(scans, raw, "participant", "--participant_label", "01").exit_code == 0
    # While one participant is worked on, another one can be, and the whole cannot.
    with locked(state / "lock", shared=True), locked(state / "lock-sub-01"):
        assert bids(scans, raw, "participant", "--participant-label", "sub-02").exit_code == 0
        assert "another run" in bids(scans, raw, "participant", "--participant-label", "01").stderr
        assert "another run" in bids(scans, raw, "participant").stderr
    result = bids(scans, raw, "group", "--json")
    assert result.exit_code == 0
    assert [case["name"] for case in json.loads(result.stdout)["cases"]] == [
        "sub-01_ses-1_T1w", "sub-01_ses-2_T1w", "sub-02_T1w",
    ]  # fmt: skip


def test_a_failed_participant_is_exit_code_3(scans, raw, spoilt_pipeline):
    shutil.copyfile(scans.query("bad", FAULTY).path, raw / "sub-02" / "anat" / "sub-02_T1w.nii.gz")
    result = bids(scans, raw, "participant")
    assert result.exit_code == 3
    assert "sub-02_T1w: unexpected ValueError" in result.stderr


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("everything",), "LEVEL: expected one of participant, group"),
        (("participant", "--participant-label", "01", "09"), "sub-09 is not in"),
        (("participant", "--suffix", "T2w"), "no T2w image"),
        (("participant", "--engine", "dask"), "either --dask-address or --dask-cluster"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(scans, raw, words, text):
    result = bids(scans, raw, *words)
    assert result.exit_code == 2
    assert text in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (raw / "derivatives").exists()


def test_other_datasets_are_not_written_into(scans, raw, spoilt_pipeline):
    out = raw / "derivatives" / "ours"
    out.mkdir(parents=True)
    (out / "dataset_description.json").write_text('{"Name": "x", "GeneratedBy": [{"Name": "fMRIPrep"}]}')
    assert "has not made" in bids(scans, raw, "participant").stderr
    atlas = ["--atlas", str(scans.settings.atlas), "--labels", str(scans.settings.labels)]
    same = CliRunner().invoke(app, ["bids", str(raw), str(raw), "participant", *atlas])
    assert "is the raw dataset" in same.stderr


def test_labels_may_follow_each_other(monkeypatch):
    given = []
    monkeypatch.setattr("typer.core.TyperCommand.parse_args", lambda self, ctx, args: given.extend(args))
    BidsCommand("bids").parse_args(None, ["in", "out", "participant", "--participant_label", "01", "02", "--seed", "1"])
    assert given == [
        "in",
        "out",
        "participant",
        "--participant-label",
        "01",
        "--participant-label",
        "02",
        "--seed",
        "1",
    ]


def test_a_bids_validator_finds_no_error(scans, raw, spoilt_pipeline):
    beside = Path(sys.executable).with_name("bids-validator-deno")
    validator = shutil.which("bids-validator-deno") or (beside if beside.exists() else None)
    if validator is None:
        pytest.skip("no bids-validator-deno here")
    assert bids(scans, raw, "participant").exit_code == 0
    out = Path(raw / "derivatives" / "ours")
    done = subprocess.run([validator, "--json", str(out)], capture_output=True, text=True, timeout=200, check=False)
    issues = json.loads(done.stdout)["issues"]["issues"]
    assert [issue["code"] for issue in issues if issue["severity"] == "error"] == []
