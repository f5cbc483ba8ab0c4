"""How long and how much memory a large DICOM series takes to load; writes a synthetic one first.

    .venv/bin/python benchmarks/dicom_load.py [--slices 600] [--size 512] [--syntax none|rle|jpeg2000|enhanced] [--zip]

Each load runs in a process of its own, whose peak memory (everything included) is printed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from pydicom.uid import JPEG2000Lossless, RLELossless

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

LOAD = r"""
import re, sys, time
start = time.perf_counter()
from atlassegfm.io import read_image
volume = read_image(sys.argv[1])
seconds = time.perf_counter() - start
# Not getrusage, whose peak includes that of the process that started this one.
peak = int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024
print(f"{' x '.join(map(str, volume.grid.shape))}: {seconds:.1f} s, peak {peak:.0f} MB")
"""


def body(size: int, slices: int) -> np.ndarray:
    """Stored values of a noisy ellipsoid, (i, j, k) int16."""
    i, j = np.meshgrid(*[np.linspace(-1, 1, size, dtype=np.float32)] * 2, indexing="ij")
    disc = (i**2 + j**2 < 0.7) * 1000
    noise = np.random.default_rng(0).integers(0, 60, (size, size, 8))
    return np.stack([disc + noise[..., k % 8] + k for k in range(slices)], axis=2).astype(np.int16)


def main() -> None:
    """Write, load, tell."""
    from dicom_files import write_enhanced, write_series

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=600)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--syntax", choices=("none", "rle", "jpeg2000", "enhanced"), default="none")
    parser.add_argument("--zip", action="store_true", help="load from a ZIP archive")
    options = parser.parse_args()
    affine = np.diag([-0.8, -0.8, 1.0, 1.0])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "series"
        folder.mkdir()
        stored = body(options.size, options.slices)
        if options.syntax == "enhanced":
            write_enhanced(folder / "one", stored, affine, scaling=[(1.0, -1024.0)] * options.slices)
        else:
            syntax = {"none": None, "rle": RLELossless, "jpeg2000": JPEG2000Lossless}[options.syntax]
            write_series(folder, stored, affine, syntax=syntax)
        path = folder
        if options.zip:
            path = Path(scratch) / "series.zip"
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in folder.iterdir():
                    archive.write(file, file.name)
        print(options.syntax, "zip" if options.zip else "folder", end=": ", flush=True)
        subprocess.run([sys.executable, "-c", LOAD, str(path)], check=True)


if __name__ == "__main__":
    main()
