"""How often torch's first square root in a process differs from its second, with and without `prepare_compute`.

    python benchmarks/first_calls.py --processes 120

One process after the other, each kind in turn: both threads have to come to the first call together, which they do not
on a machine that does other work. See docs/decisions/0017-first-calls.md.
"""

import argparse
import os
import subprocess
import sys

KINDS = {"as torch comes": "", "prepared": "from atlassegfm.runtime import prepare_compute; prepare_compute()\n"}

#: Enough numbers for two threads, more than one share of them.
CHILD = """
import torch
x = torch.rand(100_001, generator=torch.Generator().manual_seed(0)) + 1e-3
first, second = x.sqrt(), x.sqrt()
print(float(((first - second) / second).abs().max()))
"""

SETTINGS = {"OMP_NUM_THREADS": "2", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}


def difference(kind):
    """Largest relative difference between the two calls in a fresh process."""
    command = [sys.executable, "-c", KINDS[kind] + CHILD]
    done = subprocess.run(command, env=os.environ | SETTINGS, capture_output=True, text=True, check=True)
    return float(done.stdout)


def main():
    """Run as many processes of each kind as asked for and print what they found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=120)
    found = {kind: [] for kind in KINDS}
    for _ in range(parser.parse_args().processes):
        for kind, differences in found.items():
            differences.append(difference(kind))
    for kind, differences in found.items():
        wrong = sum(d > 0 for d in differences)
        print(f"{kind}: {wrong} of {len(differences)} processes differ, by up to {max(differences):.1e}")


if __name__ == "__main__":
    main()
