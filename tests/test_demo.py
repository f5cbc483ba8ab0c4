from __future__ import annotations

import io
import json
import sys
from types import ModuleType

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from atlassegfm import demo
from atlassegfm.atlas import Atlas
from atlassegfm.cli import app
from atlassegfm.io import read_image, read_labels
from atlassegfm.phantom import NAMES, make_pair
from fakes import fake_segment


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A coarse pair and a pipeline without its work."""
    monkeypatch.setattr(demo, "make_pair", lambda seed: make_pair(seed, shape=(40, 34, 27), spacing=(6.0, 6.0, 7.0)))
    module = ModuleType("atlassegfm.pipeline")
    module.segment = fake_segment
    monkeypatch.setitem(sys.modules, "atlassegfm.pipeline", module)


def test_files_hold_the_pair(tmp_path):
    pair = demo.make_pair(3)
    files = demo.write_pair(pair, tmp_path / "new" / "demo", 3)
    atlas = Atlas.load(files.atlas, files.labels)
    assert atlas.names == NAMES
    assert atlas.notices == []
    np.testing.assert_array_equal(atlas.labels.data, pair.labels.data)
    query = read_image(files.query)
    np.testing.assert_array_equal(query.data, pair.query.data)
    np.testing.assert_allclose(query.affine, pair.query.affine, atol=1e-4)
    np.testing.assert_array_equal(read_labels(files.truth).data, pair.truth.data)


def test_scores_are_dice_against_the_truth(tmp_path):
    steps = []
    result = demo.run_demo(tmp_path, 0, lambda step, fraction: steps.append(step))
    truth = read_labels(result.files.truth).data
    final = result.segmentation.labels.data
    expected = 2 * np.sum((final == 1) & (truth == 1)) / (np.sum(final == 1) + np.sum(truth == 1))
    assert result.dice["liver"]["fusion"] == pytest.approx(expected)
    assert set(result.dice) == set(NAMES.values())
    assert result.mean("fusion") == pytest.approx(np.mean([row["fusion"] for row in result.dice.values()]))
    assert steps[0] == "make the scans"
    assert steps[-1] == "write the results"
    assert all(path.exists() for path in result.outputs.items().values())


def test_table_has_a_row_per_label_and_the_mean(tmp_path):
    result = demo.run_demo(tmp_path)
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(demo.dice_table(result))
    text = console.export_text()
    for word in (*NAMES.values(), "mean", "registration alone", "model alone", "fusion"):
        assert word in text


def test_without_a_model_there_is_no_column_for_it(tmp_path):
    result = demo.run_demo(tmp_path, model="none")
    assert set(result.dice["liver"]) == {"registration alone", "fusion"}


def test_command_prints_figures_and_places(tmp_path):
    out = tmp_path / "demo"
    result = CliRunner().invoke(app, ["demo", "-o", str(out)])
    assert result.exit_code == 0, result.output
    assert "Dice" in result.stdout
    assert "query_seg.nii.gz" in result.stdout
    as_json = CliRunner().invoke(app, ["demo", "-o", str(out), "--json"])
    assert set(json.loads(as_json.stdout)["dice"]) == set(NAMES.values())


def test_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "taken").write_text("x")
    result = CliRunner().invoke(app, ["demo", "-o", str(tmp_path / "taken")])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
