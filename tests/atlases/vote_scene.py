"""Atlases that need no registration: a bright box on texture, shifted by so many voxels."""

import numpy as np
from scipy.ndimage import gaussian_filter

from atlassegfm.atlas import Atlas
from atlassegfm.atlases.warped import WarpedAtlas
from atlassegfm.volume import Grid, Volume

GRID = Grid((24, 20, 16), np.diag([4.0, 4.0, 6.0, 1.0]))
WHOLE = tuple(slice(0, n) for n in GRID.shape)


def scan(shift=0, value=1, seed=0):
    """Image and labels of a box, `shift` voxels along the first axis."""
    labels = np.zeros(GRID.shape, np.uint8)
    labels[6 + shift : 14 + shift, 5:15, 4:12] = value
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=GRID.shape), 1.0)
    return Volume((100.0 * (labels > 0) + 4 * noise / noise.std()).astype(np.float32), GRID), Volume(labels, GRID)


def atlas(shift=0, seed=0, value=1, names=None):
    """The same as an atlas."""
    return Atlas(*scan(shift, value, seed), names or {value: "box"})


def warped(shift=0, seed=0, values=(1,)):
    """The same as if it had been carried over; of `values` the first is the box, the others are nowhere."""
    image, labels = scan(shift, seed=seed)
    return WarpedAtlas(
        image.data,
        np.ones(GRID.shape, bool),
        {values[0]: (WHOLE, (labels.data > 0).astype(np.float16))},
        frozenset(values),
    )


def truth():
    """Where the box of the query is."""
    return scan(0)[1].data > 0
