"""Windows, percentiles and z-scores."""

from __future__ import annotations

import numpy as np
import pytest

from atlassegfm.errors import InputError
from atlassegfm.models.intensity import CT_WINDOWS, check_window, window_bounds, windowed, z_scores
from atlassegfm.volume import Grid, Volume

GRID = Grid((10, 10, 10), np.eye(4))


def volume(low: float, high: float) -> Volume:
    return Volume(np.linspace(low, high, 1000, dtype=np.float32).reshape(GRID.shape), GRID)


def test_ct_gets_a_window_in_hounsfield_units_and_all_else_percentiles():
    assert window_bounds(volume(-1000, 2000)) == CT_WINDOWS["soft-tissue"]
    low, high = window_bounds(volume(0, 999))
    assert low == pytest.approx(5.99, abs=0.1)
    assert high == pytest.approx(994.0, abs=0.1)


def test_windows_by_name_and_by_numbers():
    ct = volume(-1000, 2000)
    assert window_bounds(ct, "lung") == (-1350.0, 150.0)
    assert window_bounds(ct, "-50:350.5") == (-50.0, 350.5)
    assert window_bounds(ct, "percentile")[1] > 1900
    scaled = windowed(ct, "0:100")
    assert scaled.dtype == np.float32
    assert (scaled.min(), scaled.max()) == (0.0, 1.0)
    np.testing.assert_allclose(scaled[(ct.data > 49) & (ct.data < 51)], 0.5, atol=0.02)


@pytest.mark.parametrize("text", ["", "liver", "9:1", "5:5", "a:b", "1:inf", "3"])
def test_other_windows_are_named(text):
    with pytest.raises(InputError, match=r"option window: expected one of auto, .* or LOW:HIGH"):
        check_window(text)


def test_a_constant_image_has_a_window():
    assert np.isfinite(windowed(volume(5, 5))).all()


def test_z_scores_are_of_the_region():
    data = np.arange(1000.0).reshape(GRID.shape)
    region = data > 500
    scores = z_scores(data, region)
    assert scores[region].mean() == pytest.approx(0.0, abs=1e-5)
    assert scores[region].std() == pytest.approx(1.0, abs=1e-5)
    assert np.isfinite(z_scores(data, np.zeros_like(region))).all()
    assert not z_scores(np.ones(GRID.shape), np.ones(GRID.shape, bool)).any()
