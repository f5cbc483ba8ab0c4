"""A small dataset on disk and a procedure that needs no registration."""

import json

import numpy as np
import pytest

from atlassegfm.errors import RegistrationError
from atlassegfm.evaluation import api
from atlassegfm.evaluation.baselines import PROCEDURES, Outcome
from atlassegfm.evaluation.dataset import Dataset
from atlassegfm.evaluation.methods import PRESETS
from atlassegfm.io import write_image, write_labels
from atlassegfm.volume import Grid, Volume

SHAPE = (20, 18, 16)
AFFINE = np.diag([1.5, 1.5, 2.0, 1.0])


def toy_labels(shift):
    """Two boxes, label 1 and 2, moved by `shift` voxels along the first axis."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[3 + shift : 9 + shift, 4:12, 3:10] = 1
    labels[11 + shift : 15 + shift, 5:10, 5:12] = 2
    return labels


def write_dataset(folder, cases=6):
    """Cases case_0, case_1, ... whose boxes lie 0, 1, 2, 0, 1, 2, ... voxels further on."""
    rng = np.random.default_rng(0)
    grid = Grid(SHAPE, AFFINE)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    for n in range(cases):
        labels = Volume(toy_labels(n % 3), grid)
        image = Volume((labels.data * 50 + rng.normal(0, 5, SHAPE)).astype(np.float32), grid)
        write_image(folder / "images" / f"case_{n}.nii.gz", image)
        write_labels(folder / "labels" / f"case_{n}.nii.gz", labels, image)
    facts = {"name": "Toy", "modality": "none", "labels": {"1": "first box", "2": "second box", "7": "nowhere"}}
    (folder / "dataset.json").write_text(json.dumps(facts))
    return Dataset.load(folder)


@pytest.fixture
def toy(tmp_path):
    return write_dataset(tmp_path / "data")


@pytest.fixture
def make_dataset():
    return write_dataset


#: What the copying pipeline tells of its run.
FACTS = {
    "steps": {"registration": 1.0},
    "learnable_parameters": {"atlas": 1000, "model": 1007, "final": 1021},
    "trees": {"atlas": 0, "model": 0, "final": 160},
}


def copy_pipeline(calls):
    """A pipeline that copies the atlas labels; "model" and "final" are moved one and two voxels. Notes its calls."""

    def run(job):
        calls.append((job.method.name, job.truth))
        data = job.atlas.labels.data
        moved = {name: np.roll(data, n, axis=0) for n, name in enumerate(("atlas", "model", "final"))}
        maps = {name: job.query.with_data(m) for name, m in moved.items()}
        return Outcome(maps, {"atlas": 1.0, "model": 2.0, "final": 3.0}, FACTS)

    return run


@pytest.fixture
def copying(monkeypatch):
    calls = []
    monkeypatch.setitem(PROCEDURES, "pipeline", copy_pipeline(calls))
    return calls


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Folder and summary of an evaluation in which one pair of four fails."""
    folder, count, inner = tmp_path_factory.mktemp("evaluated"), [], copy_pipeline([])
    dataset = write_dataset(folder / "data")

    def fails_once(job):
        count.append(1)
        if len(count) == 2:
            raise RegistrationError("no alignment <here> & now")
        return inner(job)

    methods = tuple(PRESETS[name] for name in ("default", "model", "registration"))
    request = api.Request(dataset.folder, folder / "out", methods, folds=2, command="atlassegfm evaluate data -o out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "check_available", lambda methods: None)
        patch.setitem(PROCEDURES, "pipeline", fails_once)
        return folder / "out", api.evaluate(request, isolate=False)
