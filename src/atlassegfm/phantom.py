"""Two synthetic abdomens with known truth: the scans of `atlassegfm demo` and of the tests.

Each patient is a set of implicit shapes in millimetres. Three things make the second patient differ from the first, so
that a registration alone can't be perfect: a pose, a smooth deformation of the whole body, and for each organ a shift,
a size and an irregular border that its neighbours don't share. Unlabelled look-alikes (stomach, bowel, vena cava) lie
beside the labelled organs. Everything follows from one seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from atlassegfm.points import linear_map
from atlassegfm.volume import Grid, Volume, bounding_box

#: Label values and names of the phantom's organs.
NAMES = {1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen", 5: "aorta"}

#: Voxel size of the query, mm: on purpose not the atlas's.
QUERY_SPACING_MM = (2.3, 2.3, 3.6)
#: Bowel loops of each patient; nobody's bowel lies like anybody else's.
BOWEL_LOOPS = 9


class PhantomPair(NamedTuple):
    """An atlas and a query with its truth.

    Attributes
    ----------
    image, labels : Volume
        The atlas: float32 intensities and uint8 labels on the same RAS grid.
    names : dict of int to str
        Name of each label value.
    query, truth : Volume
        The second patient on an LPS grid of another spacing, and the labels nobody shows to the method.
    """

    image: Volume
    labels: Volume
    names: dict[int, str]
    query: Volume
    truth: Volume


@dataclass(frozen=True)
class _Waves:
    """A smooth random displacement in mm, as a sum of plane waves so that it needs no grid of its own."""

    wave: np.ndarray  # (n, 3), radians per mm
    phase: np.ndarray  # (n,)
    amplitude: np.ndarray  # (n, 3), mm

    @classmethod
    def random(cls, rng: np.random.Generator, rms_mm: float, wavelength_mm: float, count: int = 7) -> _Waves:
        """Waves whose sum has the root mean square `rms_mm` in each component."""
        direction = rng.normal(size=(count, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        length = wavelength_mm * rng.uniform(0.75, 1.5, size=(count, 1))
        amplitude = rng.normal(size=(count, 3))
        amplitude *= rms_mm * np.sqrt(2.0 / np.square(amplitude).sum())
        return cls(2 * np.pi * direction / length, rng.uniform(0, 2 * np.pi, count), amplitude * np.sqrt(3.0))

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Displacement (3, ...) in mm at the points (3, ...) in mm."""
        out = np.zeros_like(points)
        for wave, phase, amplitude in zip(self.wave, self.phase, self.amplitude, strict=True):
            value = np.sin(np.tensordot(wave.astype(np.float32), points, axes=1) + np.float32(phase))
            out += amplitude.astype(np.float32)[:, None, None, None] * value
        return out


Shape = Callable[[np.ndarray], np.ndarray]


def _ellipsoid(centre: tuple[float, float, float], axes: tuple[float, float, float]) -> Shape:
    """Positive inside, zero on the surface; points (3, ...) in mm."""

    def shape(p: np.ndarray) -> np.ndarray:
        return 1.0 - np.sqrt(sum(((p[a] - centre[a]) / axes[a]) ** 2 for a in range(3)) + 1e-9)

    return shape


def _tube(x: float, y: float, radius: float, bend_mm: float = 0.0) -> Shape:
    """A vessel along z whose axis bends by `bend_mm`."""

    def shape(p: np.ndarray) -> np.ndarray:
        swing = bend_mm * np.sin(p[2] / 45.0)
        return 1.0 - np.sqrt((p[0] - x - swing) ** 2 + (p[1] - y - 0.5 * swing) ** 2 + 1e-9) / radius

    return shape


def _without(shape: Shape, hole: Shape) -> Shape:
    """`shape` minus `hole`: this is how an organ gets its concavity."""
    return lambda p: np.minimum(shape(p), -hole(p))


def _union(first: Shape, second: Shape) -> Shape:
    return lambda p: np.maximum(first(p), second(p))


@dataclass(frozen=True)
class _Organ:
    """One thing to paint: where, how bright, how rough, and how much it varies between patients."""

    name: str
    shape: Shape
    centre: tuple[float, float, float]
    reach_mm: float  # nothing of it lies farther from the centre than this
    intensity: float
    texture: float  # standard deviation of its own texture, in intensity units
    grain_mm: float
    label: int = 0
    shift_mm: float = 5.0
    growth: float = 0.08
    wobble_mm: float = 2.0
    wave_mm: float = 60.0
    core: Shape | None = None  # a darker part inside that moves with the organ and belongs to it


_LIVER = _without(
    _union(_ellipsoid((46, 8, 34), (46, 58, 52)), _ellipsoid((8, 32, 48), (44, 26, 26))),
    _ellipsoid((20, -14, -2), (30, 34, 34)),
)
_SPLEEN = _without(_ellipsoid((-68, -18, 40), (25, 36, 40)), _ellipsoid((-42, 2, 40), (22, 30, 46)))
_R_KIDNEY = _without(_ellipsoid((50, -36, -30), (20, 23, 37)), _ellipsoid((28, -30, -30), (13, 9, 12)))
_L_KIDNEY = _without(_ellipsoid((-48, -38, -22), (20, 22, 38)), _ellipsoid((-26, -32, -22), (13, 9, 12)))
_R_PELVIS = _ellipsoid((47, -36, -30), (7, 8, 17))
_L_PELVIS = _ellipsoid((-45, -38, -22), (7, 8, 17))

_ORGANS = (
    _Organ("stomach", _ellipsoid((-34, 26, 42), (27, 26, 40)), (-34, 26, 42), 60, 150, 22, 8, 0, 10, 0.2, 3, 70),
    _Organ("liver", _LIVER, (32, 10, 34), 95, 205, 7, 5, 1, 8, 0.10, 2.6, 85),
    _Organ("spleen", _SPLEEN, (-68, -18, 40), 62, 172, 7, 4, 4, 9, 0.15, 2.0, 60),
    _Organ("right kidney", _R_KIDNEY, (50, -36, -30), 58, 186, 10, 4, 2, 9, 0.12, 1.5, 50, _R_PELVIS),
    _Organ("left kidney", _L_KIDNEY, (-48, -38, -22), 58, 183, 10, 4, 3, 9, 0.12, 1.5, 50, _L_PELVIS),
    _Organ("vena cava", _tube(16, -20, 9.5, 3), (16, -20, 0), 400, 128, 6, 4, 0, 4, 0.15, 1.2, 60),
    _Organ("aorta", _tube(-8, -22, 9.5, -4), (-8, -22, 0), 400, 96, 6, 4, 5, 4, 0.12, 1.0, 60),
)  # fmt: skip


@dataclass(frozen=True)
class _Patient:
    """What is particular to one of the two: pose, deformation, organ variations, scanner."""

    rng: np.random.Generator
    rotation: np.ndarray  # body from world, (3, 3)
    shift_mm: np.ndarray
    scale: float
    warp: _Waves
    variation: float  # 0: the organs as drawn, 1: the full variation of _Organ
    gain: float
    gamma: float

    def to_body(self, grid: Grid) -> np.ndarray:
        """Body coordinates (3, *grid.shape), mm, float32, of the voxel centres of `grid`."""
        ijk = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
        world = grid.to_world(ijk) - self.shift_mm
        body = np.moveaxis(linear_map(self.rotation / self.scale, world), -1, 0).astype(np.float32)
        return body + self.warp(body)


def make_pair(
    seed: int = 0,
    shape: tuple[int, int, int] = (96, 80, 64),
    spacing: tuple[float, float, float] = (2.5, 2.5, 3.0),
) -> PhantomPair:
    """Make an atlas and a query with known truth.

    The anatomy has a fixed size (a torso of about 210 x 160 mm); a smaller field of view shows less of it. For a quick
    test keep the field of view and use larger voxels.

    Parameters
    ----------
    seed : int
        Everything random follows from it: the same seed gives the same arrays.
    shape, spacing : three ints, three floats
        Grid of the atlas, in voxels and mm, axes along R, A, S. The query covers the same field of view with voxels of
        another proportion and axes along L, P, S.

    Returns
    -------
    PhantomPair
        image, labels, names, query, truth.
    """
    streams = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2)]
    image, labels = _scan(_reference_patient(streams[0]), _centred_grid(shape, np.array(spacing)))
    fov = np.array(shape) * np.array(spacing)
    query_spacing = np.array(QUERY_SPACING_MM) * np.array(spacing) / (2.5, 2.5, 3.0)
    query_shape = tuple(np.ceil(fov / query_spacing).astype(int).tolist())
    query_grid = _centred_grid(query_shape, query_spacing * (-1, -1, 1), centre=(6.0, -4.0, 5.0))
    query, truth = _scan(_other_patient(streams[1]), query_grid)
    return PhantomPair(image, labels, dict(NAMES), query, truth)


def _centred_grid(
    shape: tuple[int, int, int], step: np.ndarray, centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
) -> Grid:
    affine = np.diag([*step, 1.0])
    affine[:3, 3] = np.array(centre) - step * (np.array(shape) - 1) / 2.0
    return Grid(shape, affine)


def _reference_patient(rng: np.random.Generator) -> _Patient:
    warp = _Waves.random(rng, 2.0, 150.0)
    return _Patient(rng, np.eye(3), np.zeros(3), 1.0, warp, 0.35, 1.0, 1.0)


def _other_patient(rng: np.random.Generator) -> _Patient:
    axis = rng.normal(size=3) + np.array([0.0, 0.0, 2.0])
    rotation = Rotation.from_rotvec(np.deg2rad(8.0) * axis / np.linalg.norm(axis)).as_matrix()
    shift = rng.normal(size=3)
    shift *= 15.0 / np.linalg.norm(shift)
    scale = float(rng.choice([0.94, 1.05]))
    warp = _Waves.random(rng, 5.0, 140.0)
    return _Patient(rng, rotation, shift, scale, warp, 1.9, 1.15, 0.92)


def _scan(patient: _Patient, grid: Grid) -> tuple[Volume, Volume]:
    """Paint the patient on the grid and add what a scanner adds."""
    body = patient.to_body(grid)
    canvas = _Canvas(patient.rng, grid, body)
    _paint_torso(canvas)
    for organ in (*_bowel(patient.rng), *_ORGANS):
        canvas.paint(organ, patient.variation)
    image = _through_scanner(canvas.image, patient, body)
    return Volume(image, grid), Volume(canvas.labels, grid)


class _Canvas:
    """The image and labels being painted; later things cover earlier ones."""

    def __init__(self, rng: np.random.Generator, grid: Grid, body: np.ndarray) -> None:
        self.rng = rng
        self.spacing = grid.spacing
        self.body = body
        self.image = np.full(grid.shape, 4.0, np.float32)
        self.labels = np.zeros(grid.shape, np.uint8)

    def coverage(self, signed: np.ndarray) -> np.ndarray:
        """Share of each voxel inside the implicit shape (partial volume), from its linearised distance."""
        slope = np.sqrt(sum(g**2 for g in np.gradient(signed, *self.spacing)))
        voxel = float(np.cbrt(np.prod(self.spacing)))
        return np.clip(0.5 + signed / (slope + 1e-6) / voxel, 0.0, 1.0).astype(np.float32)

    def texture(self, shape: tuple[int, ...], grain_mm: float) -> np.ndarray:
        """Smooth noise of unit variance whose grains measure about `grain_mm`."""
        noise = self.rng.standard_normal(shape, dtype=np.float32)
        noise = ndimage.gaussian_filter(noise, grain_mm / 2.0 / self.spacing)
        return noise / max(float(noise.std()), 1e-6)

    def blend(self, box: tuple[slice, ...], cover: np.ndarray, value: float | np.ndarray) -> None:
        self.image[box] += cover * (value - self.image[box])

    def paint(self, organ: _Organ, variation: float) -> None:
        """Paint one organ with its own random shift, size, border and texture."""
        shift = self.rng.normal(size=3)
        shift *= variation * organ.shift_mm * self.rng.uniform(0.6, 1.0) / np.linalg.norm(shift)
        # One size for the whole organ and a smaller share for each axis, so that proportions change too.
        size = 1.0 + variation * organ.growth * (self.rng.uniform(-1, 1) + 0.5 * self.rng.uniform(-1, 1, size=3))
        wobble = _Waves.random(self.rng, variation * organ.wobble_mm, organ.wave_mm)
        centre = np.array(organ.centre, np.float32)[:, None, None, None]
        shift, size = (v.astype(np.float32)[:, None, None, None] for v in (shift, size))
        near = np.abs(self.body - centre).max(axis=0) < organ.reach_mm
        box = bounding_box(near, margin=1)
        if box is None or min(s.stop - s.start for s in box) < 2:
            return
        points = self.body[(slice(None), *box)]
        points = (points - centre - shift) / size + centre + wobble(points)
        cover = self.coverage(organ.shape(points)) * self.inside[box]
        self.blend(box, cover, organ.intensity + organ.texture * self.texture(cover.shape, organ.grain_mm))
        if organ.core is not None:
            core = self.coverage(organ.core(points)) * cover
            self.blend(box, core, 0.65 * organ.intensity)
        if organ.label:
            self.labels[box][cover >= 0.5] = organ.label


def _paint_torso(canvas: _Canvas) -> None:
    """Skin, fat, muscle, visceral fat and spine."""
    x, y, z = canvas.body
    waist = 1.0 + 0.04 * np.cos(z / 60.0)
    radius = ((np.abs(x) / 104.0) ** 2.4 + (np.abs(y) / 78.0) ** 2.4 + 1e-9) ** (1 / 2.4) / waist
    whole = (slice(None),) * 3
    shells = ((1.0, 190.0, 10.0), (0.975, 292.0, 8.0), (0.87, 108.0, 10.0), (0.80, 262.0, 26.0))
    for outer, value, rough in shells:
        cover = canvas.coverage(outer - radius)
        canvas.blend(whole, cover, value + rough * canvas.texture(cover.shape, 6.0))
    canvas.inside = np.clip((0.81 - radius) / 0.02, 0.0, 1.0)
    disc = 0.5 + 0.5 * np.tanh(6.0 * np.cos(2 * np.pi * z / 34.0) + 4.0)
    column = 1.0 - np.sqrt((x / 19.0) ** 2 + ((y + 48.0) / 16.0) ** 2 + 1e-9)
    cover = canvas.coverage(column)
    canvas.blend(whole, cover, 70.0 + 95.0 * disc + 8.0 * canvas.texture(cover.shape, 4.0))
    canvas.blend(whole, canvas.coverage(1.0 - np.hypot(x, y + 67.0) / 7.5), 300.0)
    for side in (-1.0, 1.0):  # the psoas muscles beside the spine
        muscle = 1.0 - np.hypot((x - side * 31.0) / 13.0, (y + 44.0) / 12.0)
        canvas.blend(whole, canvas.coverage(muscle), 112.0)


def _bowel(rng: np.random.Generator) -> list[_Organ]:
    """Loops of bowel, anywhere in front of the kidneys: nothing of them corresponds between two patients."""
    loops = []
    for n in range(BOWEL_LOOPS):
        centre = tuple(rng.uniform((-60, -5, -85), (60, 50, -15)).tolist())
        axes = tuple(rng.uniform(12.0, 24.0, size=3).tolist())
        value = float(rng.uniform(90.0, 235.0))
        loops.append(_Organ(f"bowel {n}", _ellipsoid(centre, axes), centre, 40, value, 20, 6, wobble_mm=3))
    return loops


def _through_scanner(image: np.ndarray, patient: _Patient, body: np.ndarray) -> np.ndarray:
    """Contrast and gain of the scanner, a smooth bias field, Rician noise; whole numbers as scanners store them."""
    image = 300.0 * patient.gain * (np.maximum(image, 0.0) / 300.0) ** patient.gamma
    bias = np.tanh(_Waves.random(patient.rng, 0.12, 320.0, count=4)(body)[0])
    image = image * (1.0 + bias)
    real, imaginary = 11.0 * patient.rng.standard_normal((2, *image.shape), dtype=np.float32)
    return np.round(np.hypot(image + real, imaginary)).astype(np.float32)
