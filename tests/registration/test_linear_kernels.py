"""Compiled sums of the linear step against the same in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from atlassegfm.registration.linear_kernels import COLUMNS, mean_residual, moments, normal_equations

SHAPE, SOURCE = (7, 6, 9), (8, 5, 10)
RNG = np.random.default_rng(0)
F, M = (RNG.uniform(size=SHAPE).astype(np.float32) for _ in range(2))
SEEN = (RNG.uniform(size=SHAPE) > 0.3).astype(np.float32)
NUMBERS = tuple(np.float32(x) for x in (1.3, 0.8, 0.1))
RESIDUAL = 1.3 * F - 0.8 * M - 0.1


def test_moments():
    got = moments(F[None], M[None], SEEN)
    wanted = [(SEEN * x).sum(dtype=float) for x in (1, F, M, F * F, M * M, F * M)]
    np.testing.assert_allclose(got[0], wanted, rtol=1e-5)


def test_mean_residual():
    assert mean_residual(F, M, SEEN, *NUMBERS) == pytest.approx(np.abs(RESIDUAL)[SEEN > 0].mean(), rel=1e-5)
    assert mean_residual(F, M, np.zeros_like(SEEN), *NUMBERS) == 0.0


def test_normal_equations():
    slopes = RNG.normal(size=(3, *SOURCE)).astype(np.float32)
    to_moving = np.array([[1.02, 0.1, 0, 0.3], [-0.1, 0.7, 0, 0.4], [0, 0.05, 1.0, 0.2]], np.float32)
    to_point = RNG.normal(size=(3, 4)).astype(np.float32)
    limit = np.float32(0.3)
    normal, rhs = np.zeros((COLUMNS, COLUMNS)), np.zeros(COLUMNS)
    normal_equations(F, M, SEEN, slopes, to_moving, to_point, *NUMBERS, limit, normal, rhs)

    voxels = np.argwhere(SEEN > 0).T
    at = to_moving[:, :3] @ voxels + to_moving[:, 3:]
    slope = np.array([map_coordinates(s, at, order=1, mode="nearest") for s in slopes])
    y = to_point[:, :3] @ voxels + to_point[:, 3:]
    columns = [0.8 * slope[a] * y[b] for a in range(3) for b in range(3)] + list(0.8 * slope)
    columns = np.array([*columns, M[SEEN > 0], np.ones(voxels.shape[1])])
    residual = RESIDUAL[SEEN > 0]
    weighted = columns * np.minimum(1.0, 0.3 / np.abs(residual))
    np.testing.assert_allclose(normal, weighted @ columns.T, rtol=2e-4, atol=2e-3)
    np.testing.assert_allclose(rhs, weighted @ residual, rtol=2e-4, atol=2e-3)
