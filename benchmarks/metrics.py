"""Time all metrics of one label on 256x256x240 masks: ``python benchmarks/metrics.py [--repeat 3]``.

The bar is 3 s per label; CPU seconds count (of both threads together), because wall time on a busy machine measures the
other jobs. Shapes: a liver-sized organ with a rough border and a far false-positive island, a small organ
against a much larger one (the slow case of a neighbour search), a thin branching tube, a mask against nothing.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.ndimage import gaussian_filter

from atlassegfm.evaluation.metrics import all_metrics

SHAPE = (256, 256, 240)
SPACING = np.array([1.486, 1.486, 0.793])
BAR_SECONDS = 3.0


def rough_ball(rng, centre, radius_mm):
    """A ball with bumps of about 3 mm."""
    axes = [np.arange(n) for n in SHAPE]
    squares = [((a - c) * s) ** 2 for a, c, s in zip(axes, centre, SPACING, strict=True)]
    distance = np.sqrt(squares[0][:, None, None] + squares[1][:, None] + squares[2])
    bumps = gaussian_filter(rng.normal(size=SHAPE).astype(np.float32), 4)
    return distance + 3 * bumps / bumps.std() < radius_mm


def tree(lines_moved_by):
    """Eight curved tubes; the centre lines are moved by some voxels."""
    lines = np.zeros(SHAPE, np.float32)
    t = np.linspace(0, 1, 4000)
    for branch in range(8):
        angle = 2 * np.pi * branch / 8
        points = np.stack([128 + 90 * t * np.cos(angle + t), 128 + 90 * t * np.sin(angle + t), 20 + 200 * t], 1)
        points = np.rint(points + lines_moved_by).astype(int)
        lines[tuple(points.T)] = 1
    return gaussian_filter(lines, 2) > 0.01


def main():
    """Time each case and print the slowest against the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    rng = np.random.default_rng(0)
    organ, other = rough_ball(rng, (120, 120, 120), 75), rough_ball(rng, (122, 121, 118), 73)
    other[200:204, 200:204, 200:204] = True
    cases = {
        "organ": (organ, other),
        "organ against its core": (organ, rough_ball(rng, (120, 120, 120), 35)),
        "vessel tree": (tree(0), tree(2)),
        "lost organ": (np.zeros(SHAPE, bool), organ),
    }
    slowest = 0.0
    for name, (pred, truth) in cases.items():
        wall, cpu = [], []
        for _ in range(repeat):
            start = time.perf_counter(), time.process_time()
            found = all_metrics(pred, truth, SPACING)
            wall.append(time.perf_counter() - start[0])
            cpu.append(time.process_time() - start[1])
        slowest = max(slowest, min(cpu))
        values = " ".join(f"{k}={v:.4g}" for k, v in found.items())
        sizes = f"{int(pred.sum())} and {int(truth.sum())} voxels"
        print(f"{name}: {min(cpu):.2f} s CPU, {min(wall):.2f} s ({sizes}) {values}")
    print(f"slowest {slowest:.2f} s CPU, bar {BAR_SECONDS} s: {'met' if slowest < BAR_SECONDS else 'MISSED'}")


if __name__ == "__main__":
    main()
