"""The data commands, as a user meets them."""

import typer
from typer.testing import CliRunner

from atlassegfm.cli_data import data_app
from atlassegfm.errors import InputError
from atlassegfm.evaluation.dataset import Dataset

app = typer.Typer()
app.add_typer(data_app, name="data")


def invoke(*arguments):
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


def test_list_names_every_data_set_with_its_terms():
    text = invoke("list").output
    for name in ("chaos", "btcv", "oasis", "avt", "hanseg", "msd", "totalsegmentator", "acdc"):
        assert name in text
    assert "CC BY-SA 4.0" in text


def test_prepare_prints_counts_licence_and_citation(tmp_path, scans):
    for n in (1, 2):
        scans.write_image(tmp_path / f"RawData/Training/img/img{n:04d}.nii.gz", n)
        scans.write_labels(tmp_path / f"RawData/Training/label/label{n:04d}.nii.gz", scans.labels(1, 6))
    result = invoke("prepare", "btcv", tmp_path / "RawData", "-o", tmp_path / "out")
    assert result.exit_code == 0, result.output
    for wanted in (
        "2 cases and 13 labels",
        "complete data set has 30",
        "licence: Synapse",
        "cite: Landman",
        "home: http",
    ):
        assert wanted in result.output
    assert len(Dataset.load(tmp_path / "out").ids) == 2


def test_errors_are_ours(tmp_path):
    result = invoke("prepare", "btcv", tmp_path / "nowhere", "-o", tmp_path / "out")
    assert isinstance(result.exception, InputError)
