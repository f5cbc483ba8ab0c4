"""The ANTs adapter. All but the first test need antspyx, which wants an older NumPy: an environment of its own."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

from atlassegfm.errors import MissingExtraError, RegistrationError
from atlassegfm.registration.ants import one_thread, syn_only, syn_rigid_affine
from atlassegfm.registration.files import write_transform
from atlassegfm.registration.registry import register
from atlassegfm.registration.result import Settings
from atlassegfm.registration.transform import Transform
from atlassegfm.resampling import resample_image
from atlassegfm.volume import Volume

from .phantoms import apply, body_points, grid_of, moving_of, rigid, scan
from .test_greedy import FIXED_GRID, warped_pair  # noqa: F401


@pytest.fixture
def ants():
    with one_thread():  # ITK counts its threads when it is first used
        return pytest.importorskip("ants")


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ants", None)
    fixed = scan(grid_of((8, 8, 8)))
    with pytest.raises(MissingExtraError, match=r"atlassegfm\[ants\]"):
        register(fixed, fixed, "ants-syn", Settings())


def test_known_motion_and_warp_are_recovered_on_oblique_grids(ants, warped_pair):  # noqa: F811
    fixed, moving, truth, in_fixed = warped_pair
    before = set(Path(tempfile.gettempdir()).iterdir())
    result = register(fixed, moving, "ants-syn", Settings())
    assert not {p for p in set(Path(tempfile.gettempdir()).iterdir()) - before if "ants" in p.name or "Warp" in p.name}
    points = apply(in_fixed, body_points())
    error = np.linalg.norm(result.transform(points) - truth(points), axis=1)
    affine = np.linalg.norm(result.transform.linear_part()(points) - truth(points), axis=1)
    assert error.mean() < 2.6
    assert error.mean() < 0.75 * affine.mean()
    assert [type(s).__name__ for s in result.transform.stages] == ["Displacement", "Affine"]


@pytest.mark.parametrize(("method", "bound"), [(syn_rigid_affine, 1.5), (syn_only, 3.0)])
def test_the_other_variants(ants, method, bound):
    truth = rigid("z", 4, (4, -3, 2))
    fixed, moving = scan(grid_of((5, 5, 5))), moving_of(grid_of((5, 5, 5)), truth)
    points = body_points()
    result = method(fixed, moving, Settings())
    assert np.linalg.norm(result.transform(points) - apply(truth, points), axis=1).mean() < bound


def test_our_files_mean_the_same_to_ants(ants, tmp_path):
    from atlassegfm.registration.ants import _to_ants

    from .test_files import FIXED, FORWARD, MOVING

    moving = scan(MOVING, lambda p: p - MOVING.centre)
    fixed = Volume(np.zeros(FIXED.shape, np.float32), FIXED)
    paths = write_transform(FORWARD, tmp_path, "case", domain=FIXED)
    ours = resample_image(moving, FIXED, FORWARD).data
    for chain in ([paths[0]], paths[1:]):
        theirs = ants.apply_transforms(_to_ants(ants, fixed), _to_ants(ants, moving), [str(p) for p in chain]).numpy()
        both = (ours != 0) & (theirs != 0)
        assert both.mean() > 0.5
        assert np.abs(ours - theirs)[both].max() < 0.1  # of 250


def test_same_seed_same_bytes(ants):
    truth = rigid("z", 6, (5, 3, 2))
    fixed, moving = scan(grid_of((6, 6, 6))), moving_of(grid_of((6, 6, 6)), truth)
    runs = [register(fixed, moving, "ants-syn", Settings(seed=s)).transform for s in (1, 1, 2)]
    fields = [run.stages[0].vectors.tobytes() for run in runs]
    assert fields[0] == fields[1] != fields[2]
    assert "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS" not in os.environ


def test_prints_nothing(ants, capfd):
    fixed = scan(grid_of((8, 8, 8)))
    register(fixed, fixed, "ants-syn", Settings())
    assert capfd.readouterr().out == ""


def test_what_ants_refuses_is_a_registration_error(ants, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("Registration failed with error code 1")

    monkeypatch.setattr(ants, "registration", fails)
    fixed = scan(grid_of((8, 8, 8)))
    with pytest.raises(RegistrationError, match="error code 1"):
        register(fixed, fixed, "ants-syn", Settings())


def test_identity_pair_stays_put(ants):
    fixed = scan(FIXED_GRID, lambda p: p - FIXED_GRID.centre)
    transform = register(fixed, fixed, "ants-syn", Settings()).transform
    points = body_points() + FIXED_GRID.centre
    assert isinstance(transform, Transform)
    assert np.linalg.norm(transform(points) - points, axis=1).mean() < 0.7
