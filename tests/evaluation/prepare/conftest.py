"""Small scans to build the layouts of public data sets from."""

import numpy as np
import pytest

from atlassegfm.io import write_image, write_labels
from atlassegfm.volume import Grid, Volume

SHAPE = (10, 9, 8)
#: Left, posterior, superior axes with anisotropic voxels, away from the origin: as scanners write.
AFFINE = np.array([[-1.5, 0, 0, 40], [0, -1.25, 0, 30], [0, 0, 3, -100], [0, 0, 0, 1.0]])


class Scans:
    """Writes scans; intensities and labels follow from a seed so that a test can tell cases apart."""

    grid = Grid(SHAPE, AFFINE)

    def image(self, seed):
        return np.random.default_rng(seed).integers(0, 1000, SHAPE).astype(np.float32)

    def labels(self, *values):
        data = np.zeros(SHAPE, np.uint8)
        for n, value in enumerate(values):
            data[2 * n % 8 : 2 * n % 8 + 2, 2:6, 1 + n // 4 : 5] = value
        return data

    def write_image(self, path, seed, grid=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, Volume(self.image(seed), grid or self.grid))

    def write_labels(self, path, data, grid=None):
        path.parent.mkdir(parents=True, exist_ok=True)
        volume = Volume(data, grid or self.grid)
        write_labels(path, volume, Volume(data.astype(np.float32), volume.grid))


@pytest.fixture
def scans():
    return Scans()
