"""Random anatomy-like layouts: tissues, organs that touch, walls around lumina, vessels, sheets, a body in air.

After SynthSeg (Billot et al., arXiv 2107.09559), AnyStar (Dey et al., arXiv 2307.07044) and anatomix (Dey et al.,
arXiv 2411.02372): shapes and intensities are wilder than any anatomy, so that real scans lie within their range.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import edt
import numpy as np
from scipy.spatial.transform import Rotation

from atlassegfm.builtin.fields import smooth_field

#: Region of air around the body.
AIR = 0
#: Most regions in a layout; a guard for the intensity tables.
MAX_REGIONS = 96


@dataclass(eq=False)
class Layout:
    """A cube cut into regions.

    Attributes
    ----------
    regions : numpy.ndarray of int16, shape (n, n, n)
        Number of the region of each voxel; 0 is air.
    objects : list of tuple of int
        What may be a label: sets of regions that belong together (an organ, a wall, a wall with its lumen).
    """

    regions: np.ndarray
    objects: list[tuple[int, ...]] = field(default_factory=list)


def random_layout(rng: np.random.Generator, size: int) -> Layout:
    """A layout on a cube of `size` voxels; the same generator state gives the same layout."""
    canvas = _Canvas(rng, size)
    canvas.fill_background()
    for _ in range(rng.integers(0, 3)):
        canvas.paint_sheet()
    # Scenes differ in grain: a few large organs, or many small structures.
    largest = float(rng.choice([12.0, 20.0, 32.0]))
    painters = (canvas.paint_blob, canvas.paint_shell, canvas.paint_tube)
    for _ in range(rng.integers(5, 19)):
        painter = painters[rng.choice(3, p=[0.6, 0.18, 0.22])]
        painter(largest)
    return canvas.layout()


class _Canvas:
    """Regions are painted one over the other; each painter draws what it needs from the generator."""

    def __init__(self, rng: np.random.Generator, size: int) -> None:
        self.rng, self.size = rng, size
        self.shape = (size, size, size)
        self.regions = np.zeros(self.shape, dtype=np.int16)
        self.claim = np.zeros(self.shape, dtype=np.float32)
        self.objects: list[tuple[int, ...]] = []
        self.count = 1
        bend = rng.uniform(0.0, 3.5)
        cells = int(rng.integers(2, 6))
        axis = np.arange(size, dtype=np.float32)
        grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
        # One bent frame for all shapes: no ellipsoid stays an ellipsoid.
        self.points = grid + np.stack([smooth_field(rng, self.shape, cells) for _ in range(3)]) * np.float32(bend)

    def layout(self) -> Layout:
        """What was painted, without the objects that were painted over."""
        present = np.bincount(self.regions.ravel(), minlength=self.count) > 0
        objects = [kept for o in self.objects if (kept := tuple(r for r in o if present[r]))]
        return Layout(self.regions, list(dict.fromkeys(objects)))

    def new_region(self) -> int:
        self.count += 1
        return self.count - 1

    def fill_background(self) -> None:
        """One tissue, a mosaic of tissues, or layers under a skin with air outside; or a mosaic under a skin."""
        rng = self.rng
        mosaic = rng.random() < 0.5
        cells = int(rng.integers(1, 7))
        kinds = int(rng.integers(3, 9)) if mosaic else 1
        first = self.count
        fields = np.stack([smooth_field(rng, self.shape, cells) for _ in range(kinds)])
        self.regions[:] = first + fields.argmax(axis=0)
        self.count += kinds
        if mosaic:
            self.objects += [(first + k,) for k in range(kinds)]
        if rng.random() < 0.45:
            self._dress()

    def _dress(self) -> None:
        """A skin somewhere in the cube: air beyond it, up to three layers below."""
        rng = self.rng
        normal = rng.normal(size=3)
        normal /= np.linalg.norm(normal)
        middle = (self.size - 1) / 2.0
        depth = np.tensordot(normal.astype(np.float32), self.points - np.float32(middle), axes=1)
        depth += np.float32(rng.uniform(-0.1, 0.45) * self.size) + 3.0 * smooth_field(rng, self.shape, 2)
        top = 0.0
        for _ in range(rng.integers(0, 4)):
            below = top + rng.uniform(1.5, 9.0)
            region = self.new_region()
            self.regions[(depth >= top) & (depth < below)] = region
            self.objects.append((region,))
            top = below
        self.regions[depth < 0] = AIR

    def paint_sheet(self) -> None:
        """A thin bent layer: the neighbourhood of a level set of a smooth field."""
        field_ = smooth_field(self.rng, self.shape, int(self.rng.integers(1, 4)))
        slope = np.sqrt(sum(g**2 for g in np.gradient(field_))) + 1e-3
        level, half = self.rng.normal() * 0.7, self.rng.uniform(0.6, 2.5)
        self.regions[np.abs(field_ - level) / slope < half] = self.new_region()

    def paint_blob(self, largest: float) -> None:
        """A bent, bumpy ellipsoid; may hold an inner part, or be cut into two objects by a smooth surface."""
        value, box = self._ellipsoid(largest)
        region = self._claim(value, box)
        if region is None:
            return
        self.objects.append((region,))
        if self.rng.random() < 0.15:
            half = smooth_field(self.rng, value.shape, 1) > self.rng.normal() * 0.4
            other = self.new_region()
            part = self.regions[box]
            part[half & (part == region)] = other
            self.objects += [(other,), (region, other)]

    def paint_shell(self, largest: float) -> None:
        """A wall around a lumen, as of heart, bowel and bladder; the wall may be open on one side."""
        value, box = self._ellipsoid(max(largest, 16.0) * 0.8)
        wall = self._claim(value, box)
        if wall is None:
            return
        part, lumen = self.regions[box], self.new_region()
        thin = self.rng.uniform(0.12, 0.5) * (1.0 + 0.3 * smooth_field(self.rng, value.shape, 2))
        part[(value > thin) & (part == wall)] = lumen
        if self.rng.random() < 0.3:
            opened = smooth_field(self.rng, value.shape, 1) > 0.7
            part[opened & (part == wall)] = self.new_region()
        self.objects += [(wall,), (lumen,), (wall, lumen), (wall,)]

    def paint_tube(self, largest: float) -> None:
        """A vessel along a bent line, of varying width, with or without a wall."""
        rng = self.rng
        knots = rng.uniform(-0.2, 1.2, size=(3, 3)) * self.size
        t = np.linspace(0.0, 1.0, 3 * self.size)[:, None]
        line = (1 - t) ** 2 * knots[0] + 2 * t * (1 - t) * knots[1] + t**2 * knots[2]
        index = np.round(line[((line >= 0) & (line <= self.size - 1)).all(axis=1)]).astype(int)
        if len(index) == 0:
            return
        away = np.ones(self.shape, dtype=np.uint8)
        away[tuple(index.T)] = 0
        distance = edt.edt(away, parallel=1)
        radius = min(rng.uniform(1.0, 8.0), 0.45 * largest)
        width = radius * (1.0 + 0.2 * smooth_field(rng, self.shape, 3))
        region = self.new_region()
        self.regions[distance < width] = region
        self.objects.append((region,))
        if radius > 3.0 and rng.random() < 0.4:
            wall = self.new_region()
            self.regions[(distance < width) & (distance > width - rng.uniform(1.0, 2.0))] = wall
            self.objects.append((region, wall))

    def _ellipsoid(self, largest: float) -> tuple[np.ndarray, tuple[slice, ...]]:
        """(1 - normalised radius on a box, the box): positive inside, bumpy."""
        rng = self.rng
        axes = np.exp(rng.uniform(np.log(3.0), np.log(largest))) * np.exp(rng.normal(0.0, 0.3, size=3))
        centre = rng.uniform(-0.05, 1.05, size=3) * self.size
        reach = 1.5 * axes.max() + 6.0
        low = np.clip(np.floor(centre - reach), 0, self.size - 8).astype(int)
        high = np.clip(np.ceil(centre + reach), low + 8, self.size).astype(int)
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        turn = Rotation.random(random_state=rng).as_matrix() / axes[:, None]
        local = self.points[(slice(None), *box)] - centre[:, None, None, None].astype(np.float32)
        radius = np.sqrt((np.tensordot(turn.astype(np.float32), local, axes=1) ** 2).sum(axis=0))
        bumps = rng.uniform(0.0, 0.3) * smooth_field(rng, radius.shape, int(rng.integers(1, 6)))
        return 1.0 - radius + bumps.astype(np.float32), box

    def _claim(self, value: np.ndarray, box: tuple[slice, ...]) -> int | None:
        """Give the voxels of positive `value` to a new region: over, under or against what was there."""
        part, claim = self.regions[box], self.claim[box]
        rule = self.rng.random()
        won = value > 0
        if rule < 0.45:
            # Neighbours meet in the middle: a shared border, as of organs that press on each other.
            won &= value > claim
        elif rule < 0.65:
            won &= claim <= 0
        if np.count_nonzero(won) < 20 or self.count >= MAX_REGIONS - 6:
            return None
        region = self.new_region()
        part[won] = region
        claim[won] = value[won]
        return region
