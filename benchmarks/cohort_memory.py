"""What a worker of a cohort needs of memory, on synthetic abdomens of several sizes: the figures behind `--jobs auto`.

    python benchmarks/cohort_memory.py
    python benchmarks/cohort_memory.py --edges 64,96 --model none

Atlas and query have about the same number of voxels. Each case is a cohort of its own, so that each worker is fresh.
The line at the end is the smallest one (base + slope per voxel) above all points.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np

from cohort import Silent

#: Of the phantom's torso, mm.
EXTENT_MM = (330.0, 250.0, 200.0)


def measure(edge, options, folder):
    """Voxels of the atlas, MB of the worker, seconds."""
    from atlassegfm.cohort.queries import Query
    from atlassegfm.cohort.runner import Work, run_cohort
    from atlassegfm.cohort.settings import CohortSettings
    from atlassegfm.demo import write_pair
    from atlassegfm.phantom import make_pair

    spacing = tuple(extent / edge for extent in EXTENT_MM)
    files = write_pair(make_pair(0, shape=(edge,) * 3, spacing=spacing), folder)
    settings = CohortSettings(files.atlas, files.labels, options=options)
    out = folder / "out"
    out.mkdir()
    record = run_cohort([Query(files.query, "query")], settings, out, Work(), Silent()).records["query"]
    return edge**3, record.peak_mb, record.seconds


def line_above(voxels, megabytes):
    """Base (MB) and slope (bytes per voxel) of a least-squares line, lifted until no point is above it."""
    slope, base = np.polyfit(voxels, megabytes, 1)
    return base + max(0.0, (megabytes - (base + slope * voxels)).max()), slope * 1e6


def main():
    """Measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", default="32,48,64,96,128,160")
    parser.add_argument("--model", default="builtin")
    parser.add_argument("--quality", default="default")
    args = parser.parse_args()
    options = {"model": args.model, "registration_options": {"quality": args.quality}, "device": "cpu"}
    rows = []
    for edge in map(int, args.edges.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(edge, options, Path(folder)))
        voxels, peak, seconds = rows[-1]
        print(f"{edge:4d}^3 = {voxels:9d} voxels: {peak:7.0f} MB, {seconds:6.1f} s", flush=True)
    base, slope = line_above(*(np.array(column, dtype=float) for column in list(zip(*rows, strict=True))[:2]))
    print(json.dumps({**vars(args), "base_mb": round(base), "bytes_per_voxel": round(slope, 1)}))


if __name__ == "__main__":
    main()
