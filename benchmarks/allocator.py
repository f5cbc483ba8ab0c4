"""How long a 3D convolution takes under different settings of glibc's allocator.

Each setting runs in its own process, because the allocator can only be set up once:

    python benchmarks/allocator.py            # the table
    python benchmarks/allocator.py --busy 2   # the same while two other processes want the cores
    python benchmarks/allocator.py --json     # the same for machines

The work is one forward and backward pass of Conv3d(16, 16, 3) on a 64^3 patch with batch size 2, the kind of step that
the registration and the models take thousands of.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -2, -3, -4
GIB = 1 << 30
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}

#: name -> (environment, mallopt options)
SETTINGS = {
    "default": ({}, []),
    "OpenMP passive": (PASSIVE, []),
    "passive + trim": (PASSIVE, [(M_TRIM_THRESHOLD, GIB)]),
    "passive + mmap threshold 32 MiB, trim": (PASSIVE, [(M_MMAP_THRESHOLD, 32 << 20), (M_TRIM_THRESHOLD, GIB)]),
    "passive + mmap threshold 1 GiB, trim": (PASSIVE, [(M_MMAP_THRESHOLD, GIB), (M_TRIM_THRESHOLD, GIB)]),
    "passive + mmap max 0, trim": (PASSIVE, [(M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, GIB)]),
    "passive + mmap max 0, trim, top pad 64 MiB": (
        PASSIVE,
        [(M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, GIB), (M_TOP_PAD, 64 << 20)],
    ),
    "passive + variables of the environment": (
        {**PASSIVE, "MALLOC_MMAP_THRESHOLD_": str(GIB), "MALLOC_TRIM_THRESHOLD_": str(GIB)},
        [],
    ),
    "atlassegfm.runtime": ({}, "runtime"),
}


def work(options, repeats):
    """Run in the child: set the allocator, import torch, time the steps; returns a dict of figures."""
    accepted = []
    if options == "runtime":
        from atlassegfm.runtime import prepare_compute

        prepare_compute()
    elif options:
        import ctypes

        libc = ctypes.CDLL(None)
        accepted = [libc.mallopt(option, value) for option, value in options]
    import torch

    torch.manual_seed(0)
    conv = torch.nn.Conv3d(16, 16, 3, padding=1)
    x = torch.randn(2, 16, 64, 64, 64)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        torch.relu(conv(x)).square().mean().backward()
        seconds.append(time.perf_counter() - start)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "median_s": statistics.median(seconds[2:]),
        "accepted": accepted,
        "minor_faults_per_step": round(usage.ru_minflt / repeats),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def main():
    """Read the options and run the measurement, with the cores kept busy when asked."""
    parser = argparse.ArgumentParser(description="time a 3D convolution under allocator settings")
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--busy", type=int, default=0, help="processes that keep the cores busy meanwhile")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(work(SETTINGS[arguments.child][1], arguments.repeats)))
        return
    spin = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(arguments.busy)]
    try:
        measure(arguments)
    finally:
        for process in spin:
            process.kill()


def measure(arguments):
    """Time every setting in a process of its own and print the results."""
    results = {}
    for name, (environment, _) in SETTINGS.items():
        command = [sys.executable, __file__, "--child", name, "--repeats", str(arguments.repeats)]
        done = subprocess.run(
            command, env={**os.environ, **environment}, capture_output=True, encoding="utf-8", check=True
        )
        results[name] = json.loads(done.stdout)
        if not arguments.json:
            r = results[name]
            print(
                f"{name:44s} {r['median_s'] * 1000:8.1f} ms  {r['minor_faults_per_step']:7d} faults/step  "
                f"{r['peak_mb']:5d} MB  accepted {r['accepted']}",
                flush=True,
            )
    if arguments.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
