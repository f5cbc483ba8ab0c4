"""A registration as a product: measures, files that ITK reads there and back, the Jacobian map."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from atlassegfm.errors import InputError, RegistrationError
from atlassegfm.io import read_image, read_labels
from atlassegfm.registration.result import RegistrationResult, Settings
from atlassegfm.registration.transform import Affine, Displacement, Transform
from atlassegfm.report import registration
from atlassegfm.report.json_report import to_json
from atlassegfm.report.registration import INDEPENDENT, NUMERICAL, align, build_report, jacobian_map, write_files
from registration.phantoms import apply, body_points, grid_of, label_map, rigid, scan, undo, waves, world

GRID = grid_of((5, 6, 5.5), turn_deg=(0, 5, 15), flips=(-1, 1, 1))
TRUTH = rigid("z", 12, (20, -10, 5))
MOVING = grid_of((6, 5, 6), centre=(20, -10, 5))
FIELD = Displacement(GRID, waves(3.0)(world(GRID)).astype(np.float32))
FORWARD = Transform((FIELD, Affine(TRUTH)))


def moved(points):
    return undo(waves(3.0), apply(np.linalg.inv(TRUTH), points))


@pytest.fixture
def pair():
    return scan(GRID), scan(MOVING, moved, seed=1), label_map(MOVING, moved)


@pytest.fixture
def known(monkeypatch):
    """A registry that knows the answer; the other way round it is 2 mm off, or fails if told to."""
    calls = []

    def register(fixed, moving, method, settings):
        calls.append((method, settings.seed))
        settings.progress("looking it up", 0.0)
        if fixed.grid is GRID:
            return RegistrationResult(FORWARD, {"cost": 1.0}, {}, ["said"])
        if method == "one way":
            raise RegistrationError("lost")
        return RegistrationResult(FORWARD.inverse().then(Transform((Affine(rigid("x", 0, (0, 0, 2))),))), {}, {}, ["b"])

    monkeypatch.setattr(registration, "register", register)
    return calls


def test_measures_and_metrics(pair, known):
    told = []
    settings = Settings(seed=4, progress=lambda step, fraction: told.append(step))
    done = align(*pair, "method", settings)
    assert known == [("method", 4)]
    assert done.metrics == {"cost": 1.0}
    assert done.warnings == ["said"]
    assert done.measures["similarity_before"] < done.measures["similarity_affine"] < done.measures["similarity_after"]
    assert done.measures["folding_percent"] == 0.0
    assert 0.002 < done.measures["sd_log_jacobian"] < 0.1
    assert done.measures["inverse_error_mean_mm"] < 0.4  # a field of 5 mm voxels, linear in between
    assert done.measures["inverse_from"] == NUMERICAL
    assert told == ["looking it up", "measure"]


def test_inverse_consistency_of_two_registrations(pair, known):
    told = []
    done = align(*pair, "method", Settings(progress=lambda step, fraction: told.append(step)), reverse=True)
    assert done.measures["inverse_error_mean_mm"] == pytest.approx(2.0, abs=0.1)
    assert done.measures["inverse_from"] == INDEPENDENT
    assert done.warnings == ["said", "reverse registration: b"]
    assert told == ["looking it up", "reverse: looking it up", "measure"]
    # The files hold the numerical inverse, which undoes the transform.
    points = body_points()
    assert np.linalg.norm(done.inverse(done.transform(points)) - points, axis=1).mean() < 0.1


def test_a_reverse_registration_that_fails_is_a_warning(pair, known):
    done = align(*pair, "one way", Settings(), reverse=True)
    assert done.measures["inverse_from"] == NUMERICAL
    assert done.warnings == ["said", "reverse registration: lost"]


def test_files_and_report(pair, known, tmp_path):
    done = align(*pair, "method", Settings())
    paths = write_files(tmp_path, "case", done, jacobian=True)
    assert [p.name for p in paths] == [
        "case_warped.nii.gz", "case_warped_labels.nii.gz", "case_jacobian.nii.gz",
        "case.h5", "case_1_warp.nii.gz", "case_2_affine.mat",
        "case_inverse.h5", "case_inverse_1_affine.mat", "case_inverse_2_warp.nii.gz",
    ]  # fmt: skip
    truth = label_map(GRID).data
    found = read_labels(paths[1]).data
    assert 2 * np.sum((found == truth) & (truth > 0)) / (np.sum(found > 0) + np.sum(truth > 0)) > 0.85
    assert np.corrcoef(read_image(paths[0]).data.ravel(), pair[0].data.ravel())[0, 1] > 0.9
    assert 0.3 < read_image(paths[2]).data.min() < 1.0 < read_image(paths[2]).data.max() < 2.0
    report = build_report(done, {"fixed": paths[0]}, paths, {"parameters": {"seed": 0}, "timings": {"x": {}}})
    assert set(report["outputs"]) == {p.name for p in paths}
    assert str(tmp_path) not in to_json(report)
    assert json.loads(to_json(report))["measures"] == done.measures
    assert {"schema", "inputs", "metrics", "warnings", "parameters", "timings", "versions"} <= set(report)


def test_itk_reads_both_transforms(pair, known, tmp_path):
    done = align(*pair, "method", Settings())
    write_files(tmp_path, "case", done)
    there, back = (sitk.ReadTransform(str(tmp_path / name)) for name in ("case.h5", "case_inverse.h5"))
    flip = np.array([-1.0, -1.0, 1.0])
    for point in body_points(25.0):
        on_moving = np.array(there.TransformPoint((point * flip).tolist()))
        np.testing.assert_allclose(on_moving * flip, FORWARD(point), atol=1e-3)
        np.testing.assert_allclose(back.TransformPoint(on_moving.tolist()) * flip, point, atol=0.3)


def test_without_labels_and_map_there_are_none(pair, known, tmp_path):
    fixed, moving, _ = pair
    names = [p.name for p in write_files(tmp_path, "case", align(fixed, moving, None, "method", Settings()))]
    assert "case_warped_labels.nii.gz" not in names
    assert "case_jacobian.nii.gz" not in names


def test_jacobian_map_of_a_scaling_and_of_a_field_on_another_grid():
    fixed = scan(GRID)
    grown = jacobian_map(Transform((Affine(np.diag([1.2, 1.1, 1.0, 1.0])),)), fixed)
    np.testing.assert_allclose(grown.data, 1.32, rtol=1e-6)
    coarse = grid_of((9, 9, 9), (180, 180, 180))
    linear = Displacement(coarse, (world(coarse) * 0.1).astype(np.float32))
    found = jacobian_map(Transform((linear,)), fixed)
    assert found.grid is GRID
    np.testing.assert_allclose(found.data, 1.1**3, rtol=1e-4)
    small = grid_of((9, 9, 9), (60, 60, 60))
    constant = Displacement(small, np.ones((*small.shape, 3), np.float32))
    doubled = jacobian_map(Transform((constant, Affine(np.diag([2.0, 1.0, 1.0, 1.0])))), fixed)
    np.testing.assert_allclose(doubled.data, 2.0, rtol=1e-6)


def test_unknown_method_is_the_registrys_error(pair):
    with pytest.raises(InputError, match="'magic'"):
        align(*pair, "magic", Settings())
