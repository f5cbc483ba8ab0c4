"""Fixtures that every test may use: real scans where they exist, small phantoms everywhere."""

from __future__ import annotations

import itertools
import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from atlassegfm.runtime import prepare_compute
from atlassegfm.volume import Grid, Volume

# No test may see or touch what the user has downloaded or named.
os.environ["ATLASSEGFM_HOME"] = tempfile.mkdtemp(prefix="atlassegfm-tests-")
for _name in [n for n in os.environ if n.startswith("ATLASSEGFM_") and n.endswith(("_WEIGHTS", "_SERVER", "_API_KEY"))]:
    del os.environ[_name]

# Before anything imports torch or scikit-learn: waiting threads must not spin on shared cores.
prepare_compute()

# The same examples on every run, and no deadline: the machines that run the checks are shared.
settings.register_profile(
    "atlassegfm",
    deadline=None,
    derandomize=True,
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
settings.load_profile("atlassegfm")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the development scans (SET/images, SET/labels); skips the test where it is absent."""
    given = os.environ.get("ATLASSEGFM_TEST_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no development scans at {folder} (set ATLASSEGFM_TEST_DATA)")
    return folder


@pytest.fixture(scope="session")
def axis_orders() -> list[np.ndarray]:
    """The 48 signed permutation matrices: every axis order with every flip."""
    out = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            out.append(np.eye(3)[:, order] * np.array(signs))
    return out


@pytest.fixture
def oblique_grid() -> Grid:
    """A small, left-handed, oblique, anisotropic grid away from the world's origin."""
    angle = 0.4
    rotation = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = rotation @ np.diag([-1.5, 1.25, 3.0])
    affine[:3, 3] = 20.0, -35.5, 110.25
    return Grid((12, 11, 7), affine)


@pytest.fixture
def image(oblique_grid: Grid) -> Volume:
    """Noise on the oblique grid: no two voxels are alike, so that a mixed-up axis shows."""
    data = np.random.default_rng(0).normal(100, 20, oblique_grid.shape).astype(np.float32)
    return Volume(data, oblique_grid)


@pytest.fixture
def labels(oblique_grid: Grid) -> Volume:
    """Two boxes, values 1 and 3, on the oblique grid."""
    data = np.zeros(oblique_grid.shape, dtype=np.uint8)
    data[2:6, 3:8, 1:4] = 1
    data[7:10, 2:5, 3:6] = 3
    return Volume(data, oblique_grid)
