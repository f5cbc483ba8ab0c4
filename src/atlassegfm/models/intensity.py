"""Intensities as models want them: Hounsfield windows for CT, percentiles for everything else, z-scores."""

from __future__ import annotations

import numpy as np

from atlassegfm.errors import InputError
from atlassegfm.modality import kind_of
from atlassegfm.volume import Volume

#: Name of a CT window to its lower and upper bound in HU (level minus and plus half the width).
CT_WINDOWS = {
    "soft-tissue": (-160.0, 240.0),
    "abdomen": (-150.0, 250.0),
    "lung": (-1350.0, 150.0),
    "bone": (-500.0, 1300.0),
    "brain": (0.0, 80.0),
    "mediastinum": (-125.0, 225.0),
}
#: Percentiles of the non-zero voxels that bound every other modality, as MedSAM was trained.
PERCENTILES = (0.5, 99.5)
AUTO, PERCENTILE = "auto", "percentile"
WINDOWS = (AUTO, PERCENTILE, *CT_WINDOWS)


def check_window(text: str) -> str:
    """Return the name of a window or ``LOW:HIGH``; `InputError` for anything else."""
    if text not in WINDOWS and _bounds(text) is None:
        raise InputError(f"option window: expected one of {', '.join(WINDOWS)} or LOW:HIGH, got {text!r}")
    return text


def window_bounds(image: Volume, window: str = AUTO) -> tuple[float, float]:
    """Intensities that become 0 and 1.

    Parameters
    ----------
    image : Volume
        "auto" is soft-tissue for CT (see `atlassegfm.modality.kind_of`), percentiles for all else.
    window : str
        A name out of `WINDOWS`, or ``LOW:HIGH``.
    """
    given = _bounds(check_window(window))
    if given is not None:
        return given
    if window in CT_WINDOWS:
        return CT_WINDOWS[window]
    if window == AUTO and kind_of(image) == "CT":
        return CT_WINDOWS["soft-tissue"]
    values = image.data[image.data != 0]
    low, high = np.percentile(values if values.size else image.data, PERCENTILES)
    return float(low), float(max(high, low + 1e-6))


def windowed(image: Volume, window: str = AUTO) -> np.ndarray:
    """The image's values between its window's bounds as float32 in [0, 1]."""
    low, high = window_bounds(image, window)
    return np.clip((image.data.astype(np.float32, copy=False) - low) / (high - low), 0.0, 1.0).astype(np.float32)


def z_scores(data: np.ndarray, region: np.ndarray) -> np.ndarray:
    """float32 with mean 0 and standard deviation 1 over `region`; a region without spread becomes 0."""
    values = data[region] if region.any() else data
    mean, spread = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return ((data.astype(np.float32, copy=False) - mean) / (spread if spread > 0 else 1.0)).astype(np.float32)


def _bounds(text: str) -> tuple[float, float] | None:
    low, colon, high = text.partition(":")
    try:
        bounds = float(low), float(high)
    except ValueError:
        return None
    return bounds if colon and np.isfinite(bounds).all() and bounds[0] < bounds[1] else None
