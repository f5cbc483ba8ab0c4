"""Pairs of synthetic scenes with known truth, from easy to hopeless, to calibrate the quality estimate on.

Both are made from one layout of `builtin.anatomy`. The second one is bent, turned and scaled; some of its structures
have moved, grown or gone by themselves; foreign structures lie between them; contrast, noise, field of view differ.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from atlassegfm.builtin.anatomy import MAX_REGIONS, random_layout
from atlassegfm.builtin.fields import smooth_field
from atlassegfm.volume import Grid, Volume

#: Edge of a scan and of the layout that it is cut out of, voxels.
SIZE, LAYOUT = 48, 72
#: Labels of a scene, at most; smallest and largest, voxels and part of the layout.
LABELS, SMALLEST, LARGEST = 4, 150, 0.12
#: Root mean square of the bending, voxels: from so much to so much, evenly in its logarithm.
BENDING = (1.0, 9.0)


def pair(seed):
    """((atlas image, labels), (query image, labels), bending in voxels), or None where there are no two labels."""
    rng = np.random.default_rng([7, seed])
    layout = random_layout(rng, LAYOUT)
    objects = _chosen(rng, layout)
    if len(objects) < 2:
        return None
    bending = float(np.exp(rng.uniform(*np.log(BENDING))))
    means, noise = _tissues(rng), float(np.exp(rng.uniform(np.log(0.01), np.log(0.07))))
    thick, axis, voxel = int(rng.choice([1, 1, 2, 3])), int(rng.integers(3)), float(rng.choice([1.0, 2.0, 3.0]))
    scans = []
    for regions, bent, turned in ((layout.regions, 0.5, False), (_other(rng, layout, objects, bending), bending, True)):
        regions = _posed(rng, regions, bent, turned)
        labels = np.zeros(regions.shape, np.uint8)
        for number, one in enumerate(objects, start=1):
            labels[np.isin(regions, one)] = number
        image = _image(rng, regions, means + turned * rng.normal(0.0, 0.04, MAX_REGIONS), noise)
        scans.append(_scanned(rng, image, labels, turned, thick, axis, voxel))
    return *scans, bending


def _chosen(rng, layout):
    """Objects that serve as labels: neither tiny nor huge, not at the rim, none part of another."""
    edge = LAYOUT // 6
    core = np.zeros(layout.regions.shape, bool)
    core[(slice(edge, -edge),) * 3] = True
    found, used = [], set()
    for number in rng.permutation(len(layout.objects)):
        one = layout.objects[number]
        mask = np.isin(layout.regions, one)
        count = np.count_nonzero(mask)
        if used & set(one) or not SMALLEST <= count <= LARGEST * mask.size or (mask & core).sum() < 0.6 * count:
            continue
        found.append(one)
        used |= set(one)
        if len(found) == LABELS:
            break
    return found


def _tissues(rng):
    """Mean intensity of each region; some look like others."""
    means = rng.uniform(0.0, 1.0, MAX_REGIONS)
    alike = rng.random(MAX_REGIONS) < rng.uniform(0.0, 0.4)
    near = means[rng.integers(0, MAX_REGIONS, MAX_REGIONS)] + rng.normal(0.0, 0.06, MAX_REGIONS)
    means = np.where(alike, near, means)
    if rng.random() < 0.8:
        means[0] = 0.0
    return means


def _other(rng, layout, objects, bending):
    """The second patient's regions: structures with a will of their own, and foreign ones."""
    regions = layout.regions.copy()
    for one in objects:
        if rng.random() < 0.3:
            continue
        mask = np.isin(regions, one)
        if not mask.any():
            continue
        before = regions.copy()
        nearest = ndimage.distance_transform_edt(mask, return_distances=False, return_indices=True)
        regions = np.where(mask, regions[tuple(nearest)], regions)
        if rng.random() < 0.05:
            continue  # taken out
        shift = rng.normal(size=3)
        shift *= rng.uniform(0.0, 1.2) * bending / np.linalg.norm(shift)
        # Organs of two people differ in volume by a third and more.
        growth = np.diag(np.exp(rng.normal(0.0, 0.1) + rng.normal(0.0, 0.07, 3)))
        centre = np.argwhere(mask).mean(axis=0)
        moved = ndimage.affine_transform(before, growth, centre - growth @ (centre + shift), order=0, mode="nearest")
        regions = np.where(np.isin(moved, one), moved, regions)
    foreign = (random_layout(rng, LAYOUT).regions + rng.integers(0, 40)) % MAX_REGIONS
    where = smooth_field(rng, regions.shape, int(rng.integers(2, 5))) > rng.uniform(0.4, 2.5)
    named = np.isin(regions, [region for one in objects for region in one])
    return np.where(where & ~named, foreign, regions)


def _posed(rng, regions, bending, turned):
    """The regions bent, and turned, scaled and shifted if so wished."""
    shape, centre = regions.shape, (LAYOUT - 1) / 2.0
    bend = np.zeros((3, *shape), np.float32)
    scales = (
        (int(rng.integers(1, 4)), 1.0),
        (int(rng.integers(4, 8)), rng.uniform(0.1, 0.5)),
        (12, rng.uniform(0, 0.15)),
    )
    for cells, weight in scales:
        bend += np.float32(weight) * np.stack([smooth_field(rng, shape, cells) for _ in range(3)])
    bend *= np.float32(bending / np.sqrt(np.square(bend).sum(axis=0).mean()))
    matrix, shift = np.eye(3), np.zeros(3)
    if turned:
        matrix = Rotation.from_rotvec(rng.normal(0.0, np.deg2rad(4.0), 3)).as_matrix()
        matrix, shift = matrix @ np.diag(np.exp(rng.normal(0.0, 0.05, 3))), rng.normal(0.0, 3.0, 3)
    points = np.indices(shape, dtype=np.float32).reshape(3, -1) - centre
    points = (matrix @ points + (centre + shift)[:, None]).reshape(3, *shape) + bend
    return ndimage.map_coordinates(regions, points, order=0, mode="nearest")


def _image(rng, regions, means, noise):
    """Tissue, texture, blur, bias, gamma, noise."""
    image = means.astype(np.float32)[regions]
    rough = np.float32(rng.uniform(0.0, 0.05))
    for cells in (4, LAYOUT // 6):
        image = image + rough * smooth_field(rng, image.shape, cells)
    image = ndimage.gaussian_filter(image, rng.uniform(0.3, 0.9))
    image = image * np.exp(rng.uniform(0.0, 0.25) * smooth_field(rng, image.shape, 1))
    image -= image.min()
    image = (image / image.max()) ** np.float32(np.exp(rng.uniform(-0.3, 0.3)))
    return 1000.0 * (image + noise * rng.standard_normal(image.shape, dtype=np.float32))


def _scanned(rng, image, labels, turned, thick, axis, voxel):
    """Field of view and slices of a scan."""
    low = (LAYOUT - SIZE) // 2 + (rng.integers(-6, 7, 3) if turned else np.zeros(3, int))
    box = tuple(slice(int(a), int(a) + SIZE) for a in low)
    steps = [thick if a == axis else 1 for a in range(3)]
    part = tuple(slice(None, None, step) for step in steps)
    image = ndimage.uniform_filter1d(image[box], thick, axis=axis) if thick > 1 else image[box]
    data = [np.ascontiguousarray(x[part]) for x in (image.astype(np.float32), labels[box])]
    grid = Grid(data[0].shape, np.diag([*(voxel * np.array(steps, float)), 1.0]))
    return Volume(data[0], grid), Volume(data[1], grid)
