"""The registry: every method has a home, unknown ones are named, nothing heavy is imported before it is used."""

from __future__ import annotations

import importlib
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest

from atlassegfm.errors import InputError, RegistrationError
from atlassegfm.registration.registry import METHODS, MethodInfo, register
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.volume import Volume

from .phantoms import apply, body_points, grid_of, moving_of, rigid, scan


@pytest.mark.parametrize("info", METHODS.values(), ids=lambda info: info.name)
def test_every_method_has_a_function(info: MethodInfo):
    module, function = info.target.split(":")
    if info.extra is None or find_spec(module) is not None:
        assert callable(getattr(importlib.import_module(module), function))
    assert METHODS[info.name] is info
    assert info.summary
    assert (info.extra is None) == (info.licence is None)


def test_the_names_that_the_command_line_promises():
    table7 = {"ants-syn", "ants-syn-rigid-affine", "ants-syn-only", "voxelmorph", "greedy"}
    assert {"default", "affine", "rigid", "identity"} | table7 <= set(METHODS)


def test_the_ladders_find_their_methods():
    from atlassegfm.evaluation.ladders import WITHOUT_AFFINE

    for full, steps in WITHOUT_AFFINE.items():
        assert {full, *steps} <= set(METHODS)


def test_unknown_method_lists_the_known_ones():
    image = scan(grid_of((8, 8, 8)))
    with pytest.raises(InputError, match=r"'magic'.*default.*greedy"):
        register(image, image, "magic", Settings())


def test_the_registry_does_not_import_torch():
    code = "import sys, atlassegfm.registration.registry; print('torch' in sys.modules, 'SimpleITK' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True).stdout
    assert out.split() == ["False", "False"]


def test_options_are_checked_for_every_method():
    image = scan(grid_of((8, 8, 8)))
    with pytest.raises(InputError, match="rigid: no option 'iterations'; it takes none"):
        register(image, image, "rigid", Settings(options={"iterations": 3}))


def test_the_deformable_step_from_the_headers_and_from_a_rigid_alignment():
    truth, grid = rigid("z", 8, (14, -10, 6)), grid_of((6, 6, 6))
    fixed, moving = scan(grid), moving_of(grid, truth)
    points = body_points()
    errors = {}
    for name in ("deformable-only", "rigid-deformable"):
        transform = register(fixed, moving, name, Settings()).transform
        errors[name] = np.linalg.norm(transform(points) - apply(truth, points), axis=1).mean()
        scale = np.linalg.svd(transform.matrix[:3, :3], compute_uv=False)
        np.testing.assert_allclose(scale, 1.0, atol=1e-9)
        assert (name == "deformable-only") == np.array_equal(transform.matrix, np.eye(4))
    unmoved = np.linalg.norm(points - apply(truth, points), axis=1).mean()
    assert errors["rigid-deformable"] < 3.0
    assert errors["deformable-only"] < 0.5 * unmoved


def test_the_deformable_step_needs_an_overlap():
    image = scan(grid_of((8, 8, 8)))
    with pytest.raises(RegistrationError, match="alike nowhere"):
        register(image, scan(grid_of((8, 8, 8), centre=(900, 0, 0))), "deformable-only", Settings())


def test_identity_trusts_the_headers():
    fixed = scan(grid_of((8, 8, 8)))
    result = register(fixed, scan(grid_of((9, 9, 9), centre=(50, 0, 0))), "identity", Settings())
    points = body_points(20.0)
    np.testing.assert_array_equal(result.transform(points), points)


@pytest.mark.parametrize("name", ["default", "affine", "rigid", "greedy"])
def test_every_method_finds_a_small_motion(name):
    if METHODS[name].extra is not None:
        pytest.importorskip("picsl_greedy")
    truth, grid = rigid("z", 8, (14, -10, 6)), grid_of((6, 6, 6))
    told: list[tuple[str, float]] = []
    settings = Settings(seed=1, progress=lambda step, fraction: told.append((step, fraction)))
    result = register(scan(grid), moving_of(grid_of((6, 6, 6), centre=(14, -10, 6)), truth), name, settings)
    assert isinstance(result, RegistrationResult)
    points = body_points()
    error = np.linalg.norm(result.transform(points) - apply(truth, points), axis=1).mean()
    assert error < 3.0  # half a voxel
    assert told
    assert all(0.0 <= fraction <= 1.0 for _, fraction in told)
    assert result.seconds
    assert all(value >= 0 for value in result.seconds.values())


@pytest.mark.parametrize("name", ["default", "greedy"])
def test_a_constant_image_is_an_error_of_ours(name):
    if name == "greedy":
        pytest.importorskip("picsl_greedy")
    fixed = scan(grid_of((8, 8, 8)))
    with pytest.raises(RegistrationError, match="contrast"):
        register(fixed, Volume(np.ones(fixed.grid.shape, np.float32), fixed.grid), name, Settings())


def test_default_is_the_same_bytes_every_time():
    fixed = scan(grid_of((7, 7, 7)))
    moving = moving_of(grid_of((7, 7, 7)), rigid("x", 12, (20, 0, -10)))
    runs = [register(fixed, moving, "default", Settings()).transform for _ in range(2)]
    for a, b in zip(runs[0].stages, runs[1].stages, strict=True):
        for name in ("vectors", "matrix"):
            if hasattr(a, name):
                assert getattr(a, name).tobytes() == getattr(b, name).tobytes()
