"""Fit the quality estimate to synthetic scenes: src/atlassegfm/quality/calibration.json. No scan of anybody is read.

    python benchmarks/quality_calibration.py --scenes 150  # goes on where an interrupted run ended
    python benchmarks/quality_calibration.py --fit-only     # from the scenes that are there

The scenes are those of `quality_scenes`. Each leaves a file in --folder and is not computed again.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.optimize import nnls
from scipy.special import expit, logit

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "src" / "atlassegfm" / "quality" / "calibration.json"
#: What is done to registrations to make them fail, voxels: root mean square of a bending, length of a shift.
BENT, ASIDE = (1.5, 10.0), (3.0, 15.0)
#: What a row of such a registration counts beside one as it came out.
FORCED = 0.25
#: Voxels of a label that is worth a row, at least.
FEWEST = 50
#: Dice of results whose signals are the usual ones; true values that are believed to mean something.
FAIR, BELIEVED = 0.7, (0.05, 0.97)
#: Strength of the ridge, in rows of unit variance; folds of scenes for the interval.
RIDGE, FOLDS = 3.0, 5


def measured(seed):
    """One row per label of a scene: signals and true Dice of what the registration carries over."""
    from atlassegfm.atlas import Atlas
    from atlassegfm.errors import RegistrationError
    from atlassegfm.judging import LabelJudge
    from atlassegfm.overlap import dice
    from atlassegfm.registration.registry import register
    from atlassegfm.registration.result import Settings
    from atlassegfm.resampling import resample_image, warp_labels
    from quality_scenes import pair

    made = pair(seed)
    if made is None:
        return []
    (image, labels), (query, truth), bending = made
    both = [
        int(v) for v in np.unique(labels.data) if v and (labels.data == v).sum() >= FEWEST and (truth.data == v).any()
    ]
    if not both:
        return []
    atlas = Atlas(image, labels, {v: f"structure {v}" for v in both})
    quick = Settings(options={"quality": "fast"})
    try:
        there, back = register(query, image, "default", quick), register(image, query, "default", quick)
    except RegistrationError:
        return []
    rows = []
    for failure, way in failures(seed, query.grid, there).items():
        prior = warp_labels(labels, query.grid, way.transform)
        returned = warp_labels(prior, labels.grid, back.transform)
        judge = LabelJudge(atlas, query, resample_image(image, query.grid, way.transform), way, returned, back)
        for value in both:
            mask = (prior.data == value).astype(np.float32)
            if mask.any():
                judge(value, tuple(slice(0, n) for n in mask.shape), mask, mask)
                found = float(dice(prior.data == value, truth.data == value))
                signals = judge.verdicts[value].to_dict()["signals"]
                rows.append({"seed": seed, "failure": failure, "bending": bending, "dice": found, **signals})
    return rows


def failures(seed, grid, there):
    """The registration as it came out; bent further at random; and beside the place: so that all degrees are seen."""
    from atlassegfm.models.corruption import random_displacement
    from atlassegfm.registration.transform import Affine, Transform

    rng = np.random.default_rng([11, seed])
    voxel = float(grid.spacing.min())
    bent = random_displacement(grid, voxel * float(np.exp(rng.uniform(*np.log(BENT)))), rng)
    aside = np.eye(4)
    aside[:3, 3] = rng.normal(size=3)
    aside[:3, 3] *= voxel * rng.uniform(*ASIDE) / np.linalg.norm(aside[:3, 3])
    ways = {"none": (), "bent": (bent,), "aside": (Affine(aside),)}
    return {
        name: replace(there, transform=Transform((*first, *there.transform.stages))) for name, first in ways.items()
    }


def fitted(rows):
    """Non-negative ridge regression of the log-odds of the Dice on the views of the signals."""
    from atlassegfm.quality.calibration import VIEWS

    fair = [row for row in rows if row["dice"] >= FAIR]
    usual = {k: float(np.median([view(row[k]) for row in fair if row[k] is not None])) for k, view in VIEWS.items()}
    views = np.array([[0.0 if r[k] is None else VIEWS[k](r[k]) - usual[k] for k in VIEWS] for r in rows])
    scale = views.std(axis=0) + 1e-6
    # The intercept may be of either sign, so that it takes two columns.
    design = np.column_stack([views / scale, np.ones(len(rows)), -np.ones(len(rows))])
    ridge = np.diag([np.sqrt(RIDGE)] * len(VIEWS) + [0.0, 0.0])
    counts = np.sqrt([1.0 if row["failure"] == "none" else FORCED for row in rows])
    target = np.concatenate([counts * true_odds(rows), np.zeros(len(VIEWS) + 2)])
    found, _ = nnls(np.vstack([counts[:, None] * design, ridge]), target)
    weights = {k: float(w) for k, w in zip(VIEWS, found / np.append(scale, [1.0, 1.0]), strict=False)}
    return {"intercept": float(found[-2] - found[-1]), "weights": weights, "usual": usual}


def true_odds(rows):
    """Log-odds of the true Dice, of which very good and very bad ones are all alike."""
    return logit(np.clip([row["dice"] for row in rows], *BELIEVED))


def predicted_odds(model, rows):
    """Log-odds that a fitted model gives to rows."""
    from atlassegfm.quality import Signals
    from atlassegfm.quality.calibration import Calibration

    calibration = Calibration(spread=(), **model)
    names = Signals.__dataclass_fields__
    return np.array([calibration.predict_odds(Signals(**{n: row[n] for n in names})) for row in rows])


def held_out(rows):
    """Log-odds for each row from a model that has not seen its scene."""
    seeds = np.array([row["seed"] for row in rows])
    out = np.zeros(len(rows))
    for fold in range(FOLDS):
        mine = np.flatnonzero(seeds % FOLDS == fold)
        model = fitted([row for row, seed in zip(rows, seeds, strict=True) if seed % FOLDS != fold])
        out[mine] = predicted_odds(model, [rows[n] for n in mine])
    return out


def spread_of(odds, truth):
    """How far the truth lies below and above the prediction, by thirds of the predictions."""
    from atlassegfm.quality.calibration import LEVEL

    tails = 100.0 * (1.0 - LEVEL) / 2.0, 100.0 * (1.0 + LEVEL) / 2.0
    order = np.array_split(np.argsort(odds), 3)
    return [[float(odds[part].mean()), *np.percentile((truth - odds)[part], tails)] for part in order]


def fit(folder):
    """Fit to the scenes in a folder; the calibration and what it does on scenes that it has not seen."""
    rows = [row for path in sorted(folder.glob("*.json")) for row in json.loads(path.read_text())]
    odds, dices = held_out(rows), np.array([row["dice"] for row in rows])
    print(f"{len(rows)} labels of {len({row['seed'] for row in rows})} scenes")
    print(
        f"held out: Pearson r {np.corrcoef(expit(odds), dices)[0, 1]:.3f}, MAE {np.abs(expit(odds) - dices).mean():.3f}"
    )
    return {**fitted(rows), "spread": spread_of(odds, true_odds(rows))}


def main():
    """Measure scenes that are not measured yet, fit, write."""
    from atlassegfm.runtime import prepare_compute

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=150, help="seeds from 0 to below this")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "quality-scenes", help="one file per scene")
    parser.add_argument("--table", type=Path, default=TABLE, help="the calibration to write")
    parser.add_argument("--fit-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    prepare_compute()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for seed in () if arguments.fit_only else range(arguments.scenes):
        path = arguments.folder / f"{seed:04d}.json"
        if not path.exists():
            rows = measured(seed)
            path.write_text(json.dumps(rows))
            print(seed, [round(row["dice"], 2) for row in rows], flush=True)
    arguments.table.write_text(json.dumps(rounded(fit(arguments.folder)), indent=1) + "\n")
    print(f"written: {arguments.table}")


def rounded(value):
    """Numbers of four digits after the point: more would be noise."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list) else round(float(value), 4)


if __name__ == "__main__":
    main()
