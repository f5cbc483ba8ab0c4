"""The paper's test-time network on a small phantom: improves, stays smooth, repeats itself, says when it fails."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from atlassegfm.errors import InputError, RegistrationError
from atlassegfm.registration.measures import masked_ncc, smoothness
from atlassegfm.registration.options import NetworkOptions
from atlassegfm.registration.registry import register
from atlassegfm.registration.result import Settings
from atlassegfm.registration.transform import Affine, Displacement
from atlassegfm.registration.voxelmorph import gradient_penalty, working_spacing
from atlassegfm.volume import Volume

from .phantoms import apply, body_points, grid_of, rigid, scan, undo, waves

GRID = grid_of((5.5, 4.7, 5.2))  # 24 x 24 x 24
WAVES = waves(5.0)
QUICK = {"iterations": 60, "learning_rate": 1e-3, "spacing_mm": 6.5, "bfloat16": True}
FEW = {"iterations": 4, "learning_rate": 1e-3, "spacing_mm": 9.0}


def pair(motion: np.ndarray | None = None) -> tuple[Volume, Volume]:
    """The body, and the body bent by `WAVES` and then moved."""
    back = np.eye(4) if motion is None else np.linalg.inv(motion)
    return scan(GRID), scan(GRID, lambda p: undo(WAVES, apply(back, p)), seed=1)


@pytest.fixture(scope="module")
def bent():
    fixed, moving = pair()
    told: list[tuple[str, float]] = []
    settings = Settings(options=QUICK, progress=lambda step, fraction: told.append((step, fraction)))
    return fixed, moving, register(fixed, moving, "voxelmorph-only", settings), told


def test_similarity_improves_and_the_field_is_smooth(bent):
    fixed, moving, result, _ = bent
    assert masked_ncc(fixed, moving, result.transform) > masked_ncc(fixed, moving) + 0.02
    points = body_points()
    error = np.linalg.norm(result.transform(points) - points - WAVES(points), axis=1).mean()
    assert error < 0.6 * np.linalg.norm(WAVES(points), axis=1).mean()
    facts = smoothness(result.transform, fixed.with_data(np.ones(GRID.shape, bool)))
    assert facts["folding_percent"] == 0.0
    assert facts["sd_log_jacobian"] < 0.5


def test_what_it_reports(bent):
    _, _, result, told = bent
    assert [type(stage) for stage in result.transform.stages] == [Displacement, Affine]
    facts = json.loads(json.dumps(result.metrics))
    assert facts["learnable_parameters"] == 336_387
    assert (facts["iterations"], facts["similarity"], facts["working_spacing_mm"]) == (60, "mse", 6.5)
    assert facts["similarity_loss"][1] < 0.5 * facts["similarity_loss"][0]
    assert facts["folding_percent"] == 0.0
    assert result.warnings == []
    assert result.seconds["network"] > 0
    steps = [fraction for step, fraction in told if step == "network"]
    assert len(steps) == 61
    assert steps == sorted(steps)
    assert (steps[0], steps[-1]) == (0.0, 1.0)


def test_rigid_and_affine_come_first():
    truth = rigid("z", 12, (18, -10, 8))
    fixed, moving = pair(truth)
    points = body_points()
    for name in ("voxelmorph", "voxelmorph-rigid"):
        result = register(fixed, moving, name, Settings(options=FEW))
        error = np.linalg.norm(result.transform(points) - apply(truth, points + WAVES(points)), axis=1).mean()
        assert error < 8.0  # the waves are 6 mm high; unmoved it is 25 mm
        scale = np.linalg.svd(result.transform.matrix[:3, :3], compute_uv=False)
        assert (np.ptp(scale) < 1e-6) == (name == "voxelmorph-rigid")
        assert "linear_score" in result.metrics
    alone = register(fixed, moving, "voxelmorph-only", Settings(options=FEW))
    np.testing.assert_array_equal(alone.transform.matrix, np.eye(4))


@pytest.mark.parametrize("extra", [{}, {"similarity": "mi"}, {"bfloat16": True, "channels_last": True}])
def test_same_seed_same_bytes_and_no_trace_on_the_global_state(extra):
    fixed, moving = pair()
    before = torch.get_rng_state()
    fields = []
    for seed in (1, 1, 2):
        torch.rand(seed)  # what happened before does not matter
        torch.set_rng_state(before)
        result = register(fixed, moving, "voxelmorph-only", Settings(seed=seed, options=FEW | extra))
        assert torch.equal(torch.get_rng_state(), before)
        fields.append(result.transform.stages[0].vectors.tobytes())
    assert fields[0] == fields[1] != fields[2]
    assert not torch.backends.cudnn.deterministic


@pytest.mark.parametrize("similarity", ["ncc", "mi"])
def test_the_other_similarities_improve_too(similarity):
    fixed, moving = pair()
    options = FEW | {"iterations": 15, "similarity": similarity}
    first, last = register(fixed, moving, "voxelmorph-only", Settings(options=options)).metrics["similarity_loss"]
    assert last < first


def test_divergence_is_an_error_of_ours():
    fixed, moving = pair()
    with pytest.raises(RegistrationError, match=r"diverged at step .* of 40: give a learning_rate below 1e\+20"):
        register(fixed, moving, "voxelmorph-only", Settings(options=FEW | {"iterations": 40, "learning_rate": 1e20}))


def test_a_result_no_better_than_the_start_is_a_warning():
    image = scan(GRID)
    result = register(image, image, "voxelmorph-only", Settings(options=FEW | {"iterations": 1}))
    assert "no more alike" in result.warnings[0]


def test_scans_without_overlap_and_constant_ones_are_errors():
    fixed = scan(GRID)
    apart = Volume(fixed.data, grid_of((5.5, 4.7, 5.2), centre=(500, 0, 0)))
    with pytest.raises(RegistrationError, match="no voxel in common"):
        register(fixed, apart, "voxelmorph-only", Settings(options=FEW))
    with pytest.raises(RegistrationError, match="contrast"):
        register(fixed, fixed.with_data(np.ones_like(fixed.data)), "voxelmorph-only", Settings(options=FEW))


def test_unknown_option_before_anything_is_computed():
    image = scan(GRID)
    with pytest.raises(InputError, match="no option 'iteration'"):
        register(image, image, "voxelmorph", Settings(options={"iteration": 5}))


def test_working_resolution():
    image = scan(GRID)
    finest = float(GRID.spacing.min())
    edge = float(np.prod(GRID.extent_mm)) ** (1 / 3)
    assert working_spacing(image, image, NetworkOptions(), "cpu") == pytest.approx(finest)  # never finer than native
    assert working_spacing(image, image, NetworkOptions(voxels=12), "cpu") == pytest.approx(edge / 12)
    assert working_spacing(image, image, NetworkOptions(spacing_mm=1.0, voxels=12), "cpu") == 1.0
    large = Volume(np.zeros((300, 300, 300), np.uint8), grid_of((1, 1, 1), (300, 300, 300)))
    assert working_spacing(large, large, NetworkOptions(), "cpu") == pytest.approx(300 / 64)
    assert working_spacing(large, large, NetworkOptions(), "cuda:0") == pytest.approx(300 / 160)


def test_gradient_penalty_of_a_slope_and_of_a_slice():
    u = torch.zeros(3, 4, 5, 6)
    u[0] = 0.5 * torch.arange(4.0)[:, None, None]
    assert float(gradient_penalty(u)) == pytest.approx(0.25 / 3 / 3)  # one of three components along one of three axes
    assert float(gradient_penalty(torch.rand(3, 1, 1, 1))) == 0.0
