"""An atlas learnt ahead of its queries is found again by the model that segments them."""

import json

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from atlassegfm import customising
from atlassegfm.atlas import Atlas
from atlassegfm.builtin.customise import Course
from atlassegfm.cli import app
from atlassegfm.customising import customise
from atlassegfm.models.refiner import NETWORKS, RefinerModel
from atlassegfm.overlap import dice
from atlassegfm.volume import Grid, Volume
from blobs import blobs, grey

GRID = Grid(blobs().shape, np.diag([2.0, 2.0, 2.0, 1.0]))
SHORT = Course(fewest_steps=1, most_steps=1, judging_patches=1)


@pytest.fixture(autouse=True)
def _one_step(monkeypatch, tmp_path):
    monkeypatch.setenv("ATLASSEGFM_HOME", str(tmp_path / "home"))
    NETWORKS.memory.forget()
    monkeypatch.setattr(customising, "RefinerModel", lambda **given: RefinerModel(**given, course=SHORT))


@pytest.fixture
def atlas() -> Atlas:
    return Atlas(Volume(grey(blobs()), GRID), Volume(blobs(), GRID), {1: "a", 2: "b"})


def test_learnt_once_then_found(atlas, tmp_path):
    first, again = customise(atlas), customise(atlas)
    assert [f["found_again"] for f in (first, again)] == [False, True]
    assert first["steps"] == 1
    assert first["prior_border_error_mm"] > 0
    assert first["trees"] == again["trees"] > 0
    assert sorted(p.suffix for p in (tmp_path / "home" / "customised").iterdir()) == [".safetensors", ".skops"]


def test_another_seed_is_another_customisation(atlas):
    customise(atlas)
    assert customise(atlas, seed=1)["found_again"] is False


def test_a_query_on_which_registration_errs_as_usual_shares_what_was_learnt(atlas):
    facts = customise(atlas)
    told = customise(atlas, Volume(grey(blobs(shift=1.0), 1), GRID))
    assert told == {**facts, "found_again": True}


def test_the_labels_travel_to_the_query_and_back(atlas, monkeypatch):
    """What is learnt from is what comes back: nothing of it here, so that each label gets a stand-in."""
    seen = []
    usual = customising.usable_priors
    monkeypatch.setattr(customising, "usable_priors", lambda *given: seen.append(given[1].data) or usual(*given))
    customise(atlas)
    customise(atlas, Volume(grey(blobs(shift=1.0), 1), GRID))
    assert not seen[0].any()
    for value in (1, 2):
        assert dice(seen[1] == value, atlas.labels.data == value) > 0.8


def test_command(atlas, tmp_path):
    paths = tmp_path / "image.nii.gz", tmp_path / "labels.nii.gz"
    for path, volume in zip(paths, (atlas.image, atlas.labels), strict=True):
        nib.save(nib.Nifti1Image(volume.data, GRID.affine), path)
    call = ["customise", "--atlas", str(paths[0]), "--labels", str(paths[1])]
    shown = CliRunner().invoke(app, call)
    assert shown.exit_code == 0, shown.output
    assert "held-out lessons" in shown.output
    facts = json.loads(CliRunner().invoke(app, [*call, "--json"]).output)
    assert facts["found_again"] is True
    missing = CliRunner().invoke(app, ["customise", "--atlas", "nowhere.nii", "--labels", str(paths[1])])
    assert missing.exit_code == 2
