"""The elastix adapter. All but the first test need itk-elastix: `pip install 'atlassegfm[elastix]'`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from atlassegfm.errors import InputError, MissingExtraError, RegistrationError
from atlassegfm.registration.options import ElastixOptions
from atlassegfm.registration.registry import register
from atlassegfm.registration.result import Settings
from atlassegfm.registration.transform import Transform
from atlassegfm.resampling import resample_labels
from atlassegfm.volume import Grid, Volume

from .phantoms import LABELLED, apply, body_points, grid_of, label_map, moving_of, rigid, scan, undo, waves
from .test_greedy import FIXED_GRID, MOVING_GRID, pose, warped_pair  # noqa: F401

LPS = np.array([-1.0, -1.0, 1.0])
#: Few steps and few nodes: the phantoms are smooth, and elastix takes a minute at its defaults, however small the scan.
QUICK = {"iterations": 100, "grid_spacing_mm": 20.0}
HASTY = {"iterations": 10, "grid_spacing_mm": 40.0}


@pytest.fixture(scope="module")
def elastix():
    itk = pytest.importorskip("itk", reason="needs itk-elastix")
    if not hasattr(itk, "ElastixRegistrationMethod"):
        pytest.skip("needs itk-elastix, there is only ITK")


@pytest.fixture(scope="module")
def aligned(elastix, warped_pair):  # noqa: F811
    """The result for the warped pair, elastix' own chain of transforms, and the files that were left behind."""
    from atlassegfm.registration import elastix as adapter

    chains = []

    def watched(*arguments):
        chains.append(run_stage(*arguments))
        return chains[-1]

    run_stage = adapter._run_stage
    places = (Path.cwd(), Path(tempfile.gettempdir()))
    before = {path for place in places for path in place.iterdir()}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter, "_run_stage", watched)
        result = register(*warped_pair[:2], "elastix", Settings(options=QUICK))
    left = {path for place in places for path in place.iterdir()} - before
    return result, chains[-1][0], {p.name for p in left if "elastix" in p.name or p.suffix in (".txt", ".log")}


def test_missing_package_names_the_extra(monkeypatch):
    fixed = scan(grid_of((8, 8, 8)))
    for module in (None, ModuleType("itk")):  # nothing, and ITK without elastix
        monkeypatch.setitem(sys.modules, "itk", module)
        with pytest.raises(MissingExtraError, match=r"atlassegfm\[elastix\]"):
            register(fixed, fixed, "elastix", Settings())


@pytest.mark.parametrize("given", [{"iterations": 0}, {"grid_spacing_mm": 0.0}, {"smoothness": -1.0}])
def test_options_have_bounds(given):
    with pytest.raises(InputError, match=f"option {next(iter(given))}: expected .* got"):
        ElastixOptions(**given)


def test_known_motion_and_warp_are_recovered_on_oblique_grids(aligned, warped_pair):  # noqa: F811
    (_, _, truth, in_fixed), (result, _, left) = warped_pair, aligned
    points = apply(in_fixed, body_points())
    error = np.linalg.norm(result.transform(points) - truth(points), axis=1)
    before = np.linalg.norm(result.transform.linear_part()(points) - truth(points), axis=1)
    assert error.mean() < 1.5  # less than half a voxel; measured 1.2 (affine alone 3.7)
    assert error.mean() < 0.4 * before.mean()
    assert [type(s).__name__ for s in result.transform.stages] == ["Displacement", "Affine"]
    assert set(result.seconds) == {"rigid", "affine", "bspline"}
    assert result.metrics["folding_percent"] == 0.0
    assert left == set()


def test_labels_land_on_labels(aligned, warped_pair):  # noqa: F811
    (fixed, *_, in_fixed), (result, *_) = warped_pair, aligned
    wave, in_moving = waves(4.0, 90.0), rigid("x", -9, (-40, 15, 60))
    labels = label_map(MOVING_GRID, lambda p: undo(wave, apply(np.linalg.inv(in_moving), p)))
    wanted = label_map(FIXED_GRID, pose(in_fixed)).data

    def dice(transform: Transform) -> float:
        found = resample_labels(labels, fixed.grid, transform).data
        values = range(1, len(LABELLED) + 1)
        return float(np.mean([2 * ((found == v) & (wanted == v)).sum() / ((found == v).sum() + (wanted == v).sum())
                              for v in values]))  # fmt: skip

    assert dice(result.transform) > 0.85
    assert dice(result.transform) > dice(result.transform.linear_part()) + 0.05
    assert dice(Transform()) < 0.3


def test_our_transform_is_what_elastix_found(aligned, warped_pair):  # noqa: F811
    (_, _, _, in_fixed), (result, theirs, _) = warped_pair, aligned
    grid = result.transform.stages[0].grid
    voxels = np.round(grid.to_voxel(apply(in_fixed, body_points(23.0))))
    points = grid.to_world(voxels)  # where the field has its values nothing is interpolated
    wanted = np.array([list(theirs.TransformPoint((p * LPS).tolist())) for p in points]) * LPS
    np.testing.assert_allclose(result.transform(points), wanted, atol=1e-4)


def test_a_tilted_gantry_and_a_place_far_off_are_taken(elastix):
    grid = grid_of((5, 5, 5))
    affine = grid.affine.copy()
    affine[:3, 2] += 0.25 * affine[:3, 1]
    truth = rigid("z", 5, (406, 0, 4))
    fixed, moving = scan(Grid(grid.shape, affine)), moving_of(grid_of((5, 5, 5), centre=(400, 0, 0)), truth)
    points = body_points()
    result = register(fixed, moving, "elastix", Settings(options={"iterations": 50, "grid_spacing_mm": 40.0}))
    assert np.linalg.norm(result.transform(points) - apply(truth, points), axis=1).mean() < 2.5


def test_same_seed_same_bytes_quietly(elastix, capfd):
    told = []
    fixed, moving = scan(grid_of((6, 6, 6))), moving_of(grid_of((6, 6, 6)), rigid("z", 6, (5, 3, 2)))
    runs = [
        register(fixed, moving, "elastix", Settings(seed, "cpu", lambda *step: told.append(step), HASTY)).transform
        for seed in (1, 1, 0)
    ]
    sys.stdout.flush()
    assert capfd.readouterr() == ("", "")
    fields = [run.stages[0].vectors.tobytes() + run.matrix.tobytes() for run in runs]
    assert fields[0] == fields[1] != fields[2]
    assert [step for step, _ in told[:3]] == ["elastix: rigid", "elastix: affine", "elastix: bspline"]
    assert told[-1][1] == 1.0


def test_what_elastix_refuses_is_one_line(elastix, monkeypatch, capfd):
    from atlassegfm.registration import elastix as adapter

    def trusting(itk, stage, options, seed):
        out, values = itk.ParameterObject.New(), dict(parameters(itk, stage, options, seed).GetParameterMap(0))
        out.AddParameterMap(values | {"AutomaticTransformInitialization": ["false"]})
        return out

    parameters = adapter._parameters
    monkeypatch.setattr(adapter, "_parameters", trusting)
    fixed, moving = scan(grid_of((8, 8, 8))), scan(grid_of((8, 8, 8), centre=(900, 0, 0)))
    with pytest.raises(
        RegistrationError, match=r"elastix failed in its rigid step \(Too many samples map out"
    ) as caught:
        register(fixed, moving, "elastix", Settings(options=HASTY))
    assert "\n" not in str(caught.value)
    print("still here", flush=True)
    assert "still here" in capfd.readouterr().out


def test_a_constant_image_is_an_error_of_ours(elastix):
    fixed = scan(grid_of((8, 8, 8)))
    with pytest.raises(RegistrationError, match="contrast"):
        register(fixed, Volume(np.ones(fixed.grid.shape, np.float32), fixed.grid), "elastix", Settings())
