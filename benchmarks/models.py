"""Run every pretrained model's real code on a real pair, with fabricated (random, small) weights in the real format.

What it shows: that each name works from the command line, what the report says, and that the fused result does not
follow a model that knows nothing. It says nothing about how good the models are: their real weights are not here.

    python benchmarks/models.py ../shared/data/hippocampus --atlas hippocampus_001 --query hippocampus_003
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

import pytest

from atlassegfm.io import read_image
from atlassegfm.overlap import dice
from fabricated import FABRICATED, QUICK


def mean_dice(found: Path, truth: Path) -> float:
    """Mean Dice over the labels of the truth."""
    got, want = (read_image(path).data for path in (found, truth))
    return float(np.mean([dice(got == v, want == v) for v in np.unique(want) if v]))


def run(data: Path, atlas: str, query: str, out: Path, model: str, extra: list[str]) -> tuple[dict, float]:
    """The report of one run of the command, and its seconds."""
    start = time.perf_counter()
    command = [
        sys.executable, "-m", "atlassegfm.cli", "segment", data / "images" / f"{query}.nii.gz",
        "--atlas", data / "images" / f"{atlas}.nii.gz", "--labels", data / "labels" / f"{atlas}.nii.gz",
        "-o", out, "--model", model, "--device", "cpu", *extra,
    ]  # fmt: skip
    done = subprocess.run([str(part) for part in command], capture_output=True, encoding="utf-8", check=False)
    if done.returncode:
        raise SystemExit(f"{model}: {done.stderr}")
    return json.loads((out / f"{query}_report.json").read_text()), time.perf_counter() - start


def main() -> None:
    """Print one line for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--atlas", required=True)
    parser.add_argument("--query", required=True)
    parser.add_argument("--models", default=",".join(sorted(FABRICATED)))
    given = parser.parse_args()
    truth = given.data / "labels" / f"{given.query}.nii.gz"
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _, seconds = run(given.data, given.atlas, given.query, root / "none", "none", [])
        alone = mean_dice(root / "none" / f"{given.query}_seg.nii.gz", truth)
        print(f"{'none':14} Dice {alone:.4f}  {seconds:6.1f} s", flush=True)
        for name in given.models.split(","):
            (root / name).mkdir()
            try:
                weights = FABRICATED[name](root / name)
            except pytest.skip.Exception as reason:
                print(f"{name:14} skipped: {reason}")
                continue
            options = [f"--model-option={key}={value}" for key, value in QUICK.get(name, {}).items()]
            out = root / f"{name}-out"
            report, seconds = run(given.data, given.atlas, given.query, out, name, ["--weights", weights, *options])
            facts = report["model"]
            print(
                f"{name:14} Dice {mean_dice(out / f'{given.query}_seg.nii.gz', truth):.4f}  {seconds:6.1f} s  "
                f"{facts['name']}, {facts['weights']['file']}, {facts['weights']['sha256'][:12]}, "
                f"{facts['weights']['licence']}",
                flush=True,
            )


if __name__ == "__main__":
    main()
