"""The default registration from 26 bad starts of the query: turned, shifted and cropped; Dice beside the untouched one.

    python benchmarks/robustness.py                                  # one pair of every set of the bar
    python benchmarks/robustness.py --pairs hippocampus,dev-heart-mr --output /tmp/robustness

Six turns of 30 degrees about the axes through the image's centre and six shifts of 100 mm, as if the header lied; the
query cropped to one half along each axis, six ways; and eight turns of 30 degrees about all three axes with a shift of
100 mm to a corner. After a crop both results are judged inside it, on the labels that have at least a tenth of their
voxels there.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from registration_pairs import GROUPS, SETS, select

REPOSITORY = Path(__file__).resolve().parents[1]
TURN_DEG, SHIFT_MM = 30.0, 100.0
#: Points of Dice below the untouched start that the bar allows.
ALLOWED = 0.02


def starts():
    """Name -> ("move", angles in degrees, shift in mm) or ("crop", axis, half)."""
    found = {}
    for axis, sign in itertools.product(range(3), (-1, 1)):
        unit = sign * np.eye(3)[axis]
        found[f"turn {sign * TURN_DEG:+.0f} deg about {'xyz'[axis]}"] = ("move", TURN_DEG * unit, np.zeros(3))
        found[f"shift {sign * SHIFT_MM:+.0f} mm along {'xyz'[axis]}"] = ("move", np.zeros(3), SHIFT_MM * unit)
        found[f"{'lower' if sign < 0 else 'upper'} half along {'ijk'[axis]}"] = ("crop", axis, sign > 0)
    for signs in itertools.product((-1, 1), repeat=3):
        corner = np.array(signs, dtype=float)
        name = f"turn and shift to {''.join('+' if s > 0 else '-' for s in signs)}"
        found[name] = ("move", TURN_DEG * corner, SHIFT_MM / np.sqrt(3) * corner)
    return found


def moved(volume, angles, shift):
    """The same voxels under a header turned about the image's centre and shifted."""
    from atlassegfm.registration.transform import about
    from atlassegfm.volume import Grid, Volume

    motion = about(Rotation.from_euler("xyz", angles, degrees=True).as_matrix(), volume.grid.centre)
    motion[:3, 3] += shift
    return Volume(volume.data, Grid(volume.grid.shape, motion @ volume.affine))


def half(volume, axis, upper):
    """One half of the voxels along an axis, and the box that holds them."""
    from atlassegfm.volume import Volume

    middle = volume.grid.shape[axis] // 2
    kept = (middle, volume.grid.shape[axis]) if upper else (0, middle)
    box = tuple(slice(*kept) if a == axis else slice(0, n) for a, n in enumerate(volume.grid.shape))
    return Volume(volume.data[box], volume.grid.cropped(box)), box


def mean_dice(found, truth, labels):
    """Mean Dice of the labels."""
    from atlassegfm.overlap import dice

    return float(np.mean([dice(found == v, truth == v) for v in labels]))


def run_pair(pair, data, quality):
    """One dict per start: Dice, the untouched one's on the same voxels, and what the method doubts."""
    from atlassegfm.errors import RegistrationError
    from atlassegfm.io import read_image, read_labels
    from atlassegfm.registration.focus import Focus
    from atlassegfm.registration.registry import register
    from atlassegfm.registration.result import Settings
    from atlassegfm.resampling import warp_labels

    folder = data / pair.dataset
    query, atlas = (read_image(folder / "images" / f"{name}.nii.gz") for name in (pair.query, pair.atlas))
    truth, labels = (read_labels(folder / "labels" / f"{name}.nii.gz") for name in (pair.query, pair.atlas))

    focus = Focus.of(labels, pair.labels)

    def carried(image):
        result = register(image, atlas, "default", Settings(options={"quality": quality}, focus=focus))
        return warp_labels(labels, image.grid, result.transform).data, result

    plain, _ = carried(query)
    rows = []
    for name, (kind, *how) in starts().items():
        image, box = half(query, *how) if kind == "crop" else (moved(query, *how), (slice(None),) * 3)
        seen = [v for v in pair.labels if (truth.data[box] == v).sum() >= 0.1 * (truth.data == v).sum() > 0]
        if not seen:
            rows.append({"set": pair.set_name, "start": name, "skipped": "no label in this half"})
            continue
        row = {"set": pair.set_name, "start": name, "untouched": mean_dice(plain[box], truth.data[box], seen)}
        try:
            found, result = carried(image)
            row |= {"dice": mean_dice(found, truth.data[box], seen), "doubts": result.metrics["doubts"]}
        except RegistrationError as error:
            row |= {"dice": 0.0, "doubts": [str(error)]}
        row["lost"] = row["untouched"] - row["dice"]
        rows.append(row)
        told = f"Dice {row['dice']:.3f}, untouched {row['untouched']:.3f}{'  DOUBTED' if row['doubts'] else ''}"
        print(f"{pair.name:46s} {name:26s} {told}", flush=True)
    return rows


def table(rows):
    """Markdown: per set how many starts hold, the worst, and those that do not hold."""
    lines = ["| set | starts | within 2 points | worst loss | starts that lose more (doubted by the method) |"]
    lines.append("| --- | ---: | ---: | ---: | --- |")
    for name in dict.fromkeys(row["set"] for row in rows):
        group = [row for row in rows if row["set"] == name and "skipped" not in row]
        lost = [row for row in group if row["lost"] > ALLOWED]
        worst = max(row["lost"] for row in group)
        which = "; ".join(f"{r['start']} {100 * r['lost']:.1f}{' (yes)' if r['doubts'] else ''}" for r in lost)
        lines.append(f"| {name} | {len(group)} | {len(group) - len(lost)} | {100 * worst:.1f} | {which or 'none'} |")
    return "\n".join(lines)


def main():
    """Measure, print the table, write the files."""
    from atlassegfm.evaluation.environment import environment
    from atlassegfm.io import write_text_atomic
    from atlassegfm.runtime import prepare_compute

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data", help="development scans")
    parser.add_argument("--pairs", default=",".join(SETS), help=f"the first pair of each, out of {', '.join(GROUPS)}")
    parser.add_argument("--quality", default="default", help="fast or default")
    parser.add_argument("--output", type=Path, help="write OUTPUT.json and OUTPUT.md")
    arguments = parser.parse_args()
    prepare_compute()
    rows = []
    for pair in select(arguments.pairs.split(","), arguments.data, 1):
        rows += run_pair(pair, arguments.data, arguments.quality)
    print("\n" + table(rows))
    if arguments.output:
        command = f"python benchmarks/robustness.py --pairs {arguments.pairs}"
        facts = {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), **environment(1, command)}
        how = __doc__.split("\n\n")[2].strip()
        text = f"# The default registration from 26 bad starts\n\n{how}\n\n{table(rows)}\n\n"
        text += "\n".join(f"- {key}: {value}" for key, value in facts.items() if key != "packages") + "\n"
        write_text_atomic(arguments.output.with_suffix(".json"), json.dumps({"facts": facts, "rows": rows}, indent=1))
        write_text_atomic(arguments.output.with_suffix(".md"), text)


if __name__ == "__main__":
    main()
