"""The pipeline on real scans, where they exist. Figures come from `atlassegfm evaluate`; here it must simply work."""

from pathlib import Path

import numpy as np
import pytest

from atlassegfm.atlas import Atlas
from atlassegfm.io import read_image, read_labels
from atlassegfm.pipeline import segment

pytestmark = pytest.mark.real

#: Set, atlas, query, labels.
PAIRS = [
    ("hippocampus", "hippocampus_037", "hippocampus_038", (1, 2)),
]


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


def atlas_of(folder: Path, name: str, values: tuple[int, ...]) -> Atlas:
    return Atlas.load(folder / f"images/{name}.nii.gz", folder / f"labels/{name}.nii.gz", only=list(values))


@pytest.mark.parametrize(("name", "atlas_id", "query_id", "values"), PAIRS)
def test_a_real_pair(real_data, name, atlas_id, query_id, values):
    folder = real_data / name
    query = read_image(folder / f"images/{query_id}.nii.gz")
    truth = read_labels(folder / f"labels/{query_id}.nii.gz").data
    result = segment(atlas_of(folder, atlas_id, values), query)
    assert result.labels.grid.matches(query.grid, 0.0)
    for value in values:
        final = dice(result.labels.data == value, truth == value)
        assert final > 0.6
        assert final > dice(result.atlas_labels.data == value, truth == value) - 0.05


@pytest.mark.parametrize("name", ["abdomen-mr", "abdomen-ct", "heart-mr", "hippocampus", "brain-mr"])
def test_every_set_reads_as_an_atlas(real_data, name):
    folder = real_data / name
    first = sorted(folder.glob("images/*.nii.gz"))[0].name.removesuffix(".nii.gz")
    atlas = Atlas.load(folder / f"images/{first}.nii.gz", folder / f"labels/{first}.nii.gz")
    assert atlas.values
    unnamed = [v for v in atlas.values if atlas.names[v] == f"label {v}"]
    # One value of the brain scans has no entry in the set's dataset.json.
    assert len(unnamed) <= (1 if name == "brain-mr" else 0)
    assert bool(unnamed) == any("name" in notice for notice in atlas.notices)
