"""How long the fusion of one label takes, training included, and how much memory.

The bar: at most 5 s and 2 GB on two cores for one label on 256 x 256 x 150 voxels.

    python benchmarks/fusion.py                    # an organ of a liver's size, kalman and gate
    python benchmarks/fusion.py --radius 20        # a small one
    python benchmarks/fusion.py --noise            # the worst case: a model that answers noise everywhere
    python benchmarks/fusion.py --json             # the same for machines

Each kind runs in its own process, so that the peak memory is its own; the volumes themselves (support and query, three
float32 maps each) are part of it and are listed as "volumes".
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

SHAPE = (256, 256, 150)
SPACING = (1.5, 1.5, 2.0)


def peak_mb():
    """Largest resident size so far."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def scans(radius_mm, noise):
    """Support and query: (M_atlas, M_fm, truth, image), the atlas map shifted by 6 mm, the model's border wobbly."""
    import numpy as np
    from scipy import ndimage, special

    made = []
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        centre = np.array(SHAPE) / 2 + seed * 3
        axes = [((np.arange(n) - c) * s / radius_mm) ** 2 for n, c, s in zip(SHAPE, centre, SPACING, strict=True)]
        distance = np.sqrt(axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :]).astype(np.float32)
        truth = distance <= 1
        image = (100 + 50 * truth).astype(np.float32) + rng.normal(0, 15, SHAPE).astype(np.float32)
        coarse = rng.normal(size=[n // 8 + 1 for n in SHAPE])
        wobble = ndimage.zoom(coarse, 8, order=1)[: SHAPE[0], : SHAPE[1], : SHAPE[2]].astype(np.float32)
        model = special.expit((1 - distance) * radius_mm - 2 * wobble)
        model = rng.random(SHAPE, dtype=np.float32) if noise else model.astype(np.float32)
        made.append((np.roll(truth, 4, axis=0).astype(np.float32), model, truth, image))
    return made


def dice(prob, truth):
    """Dice of a probability map at one half."""
    mask = prob >= 0.5
    return round(float(2 * (mask & truth).sum() / (mask.sum() + truth.sum())), 4)


def work(kind, radius_mm, noise):
    """Run in the child: fit on the support, apply to the query; returns a dict of figures."""
    from atlassegfm.runtime import prepare_compute

    prepare_compute()
    from atlassegfm.fusion import fit

    (atlas, model, truth, image), (q_atlas, q_model, q_truth, q_image) = scans(radius_mm, noise)
    if kind == "gate":
        import torch  # noqa: F401 - its import is not what is measured
    volumes, start, busy = peak_mb(), time.perf_counter(), time.process_time()
    learnt = fit(kind, atlas, model, truth, image, SPACING)
    fitted = time.perf_counter()
    fused = learnt.apply(q_atlas, q_model, q_image, SPACING)
    done = time.perf_counter()
    return {
        "fit_s": round(fitted - start, 2),
        "apply_s": round(done - fitted, 2),
        "total_s": round(done - start, 2),
        "cpu_s": round(time.process_time() - busy, 2),
        "volumes_mb": volumes,
        "peak_mb": peak_mb(),
        "dice_atlas": dice(q_atlas, q_truth),
        "dice_model": dice(q_model, q_truth),
        "dice_fused": dice(fused, q_truth),
        "chosen": learnt.facts.get("chosen"),
    }


def main():
    """Read the options, run each kind in a process of its own, print."""
    parser = argparse.ArgumentParser(description="time the fusion of one label")
    parser.add_argument("--radius", type=float, default=70.0, help="of the organ, in mm")
    parser.add_argument("--noise", action="store_true", help="the model answers noise everywhere")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(work(arguments.child, arguments.radius, arguments.noise)))
        return
    results = {}
    for kind in ("kalman", "gate"):
        command = [sys.executable, __file__, *sys.argv[1:], "--child", kind]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True, env=os.environ)
        results[kind] = json.loads(done.stdout)
        if not arguments.json:
            print(f"{kind:7s}", "  ".join(f"{key} {value}" for key, value in results[kind].items()), flush=True)
    if arguments.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
