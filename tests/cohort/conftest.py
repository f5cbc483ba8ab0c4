"""A cohort of small scans, and a pipeline that takes no time."""

from __future__ import annotations

import multiprocessing
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from atlassegfm.cohort.queries import Query
from atlassegfm.cohort.settings import CohortSettings
from atlassegfm.io import write_image, write_labels
from atlassegfm.volume import Grid, Volume
from fakes import ball_map
from spoilt import spoilt_segment


@pytest.fixture
def spoilt_pipeline(monkeypatch):
    """In place of the pipeline, in this process and in workers, which are forked so that they have it too."""
    module = ModuleType("atlassegfm.pipeline")
    module.segment = spoilt_segment
    monkeypatch.setitem(sys.modules, "atlassegfm.pipeline", module)
    monkeypatch.setattr("atlassegfm.report.qc.qc_picture", lambda path, *_, **__: Image.new("RGB", (60, 40)).save(path))
    context = multiprocessing.get_context("fork")
    monkeypatch.setattr("atlassegfm.cohort.pool.process_context", lambda *_: context)


@pytest.fixture
def scans(tmp_path):
    """Writes scans: an atlas, and queries by name and largest value."""
    grid = Grid((14, 12, 10), np.diag([2.0, 2.0, 3.0, 1.0]))
    noise = np.random.default_rng(0)

    def image(top: float) -> Volume:
        data = noise.uniform(0, 100, grid.shape).astype(np.float32)
        data[0, 0, 0] = top
        return Volume(data, grid)

    def query(name: str, top: float = 100.0) -> Query:
        path = tmp_path / "in" / f"{name}.nii.gz"
        write_image(path, image(top))
        return Query(path, name)

    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    labels = ball_map(grid, {1: (8.0, 8.0, 9.0), 3: (20.0, 16.0, 20.0)}, 5.0)
    atlas = tmp_path / "atlas.nii.gz", tmp_path / "atlas_labels.nii.gz"
    write_image(atlas[0], image(100.0))
    write_labels(atlas[1], labels, labels, {1: "liver", 3: "spleen"})
    settings = CohortSettings(*atlas, options={"model": "builtin", "seed": 0})
    return SimpleNamespace(query=query, image=image, settings=settings, folder=tmp_path / "in", out=tmp_path / "out")
