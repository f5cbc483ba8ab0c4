"""Measure on the development scans and write docs/results.md.

Runs `atlassegfm evaluate` for each set below and puts the numbers of their summaries on one page. An interrupted run
continues when repeated; pairs that are done are not computed again as long as the code is the same.

    python benchmarks/results.py                     # all sets of ../shared/data
    python benchmarks/results.py --only hippocampus  # this set; the page keeps what was measured of the others
    python benchmarks/results.py --page-only         # measure nothing, write the page from what is there
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: Methods on the page; the first is what the tests compare with.
METHODS = "default,model,registration,affine,identity"


@dataclass(frozen=True)
class Set:
    """One data set: its folder, what `evaluate` is told, and what the paper calls such data."""

    name: str
    arguments: tuple[str, ...]
    paper: str = ""


SETS = (
    Set("abdomen-mr", ("--atlas-ids", "case_01", "--query-ids", "case_02,case_05,case_10,case_13"), "Abd-MR"),
    Set(
        "abdomen-ct",
        ("--atlas-ids", "case_00", "--query-ids", "case_01,case_02,case_03,case_04", "--labels", "1,2,3,6"),
        "Abd-CT",
    ),
    Set("hippocampus", ("--atlas-ids", "hippocampus_001", "--limit", "10")),
    Set("heart-mr", ("--atlas-ids", "case_01", "--query-ids", "case_02,case_03,case_04,case_05")),
    Set(
        "brain-mr",
        (
            *("--atlas-ids", "sub_1000", "--query-ids", "sub_1001"),
            *("--labels", "23,30,31,32,36,37,47,48,51,52,55,56,57,58,59,60"),
        ),
    ),
)


def command(wanted, data, out, methods):
    """The command line of one set; paths relative to the checkout, which is where it runs."""
    places = [os.path.relpath(folder / wanted.name, ROOT) for folder in (data, out)]
    return ["atlassegfm", "evaluate", places[0], "-o", places[1], *wanted.arguments, "--methods", methods]


def measure(wanted, data, out, methods):
    """Evaluate one set; returns whether that went well."""
    if not (data / wanted.name).is_dir():
        print(f"{wanted.name}: not there, left out", file=sys.stderr)
        return True
    line = command(wanted, data, out, methods)
    print(" ".join(line), file=sys.stderr, flush=True)
    return subprocess.run([sys.executable, "-m", "atlassegfm.cli", *line[1:]], cwd=ROOT, check=False).returncode == 0


def write_page(page, out):
    """Write the page from the summaries that are there."""
    from atlassegfm.evaluation.results_page import Measured, results_page
    from atlassegfm.io import write_text_atomic

    measured = []
    for wanted in SETS:
        path = out / wanted.name / "summary.json"
        summary = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        measured.append(Measured(wanted.name, summary, wanted.paper))
    write_text_atomic(page, results_page(measured))
    print(f"written: {os.path.relpath(page)}")


def main():
    """Read the options, measure, write; the exit code is 1 when a set could not be measured."""
    names = [wanted.name for wanted in SETS]
    parser = argparse.ArgumentParser(description="measure on the development scans and write docs/results.md")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of the sets")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "results", help="folder for the evaluations")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "results.md", help="the page to write")
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="sets to measure")
    parser.add_argument("--methods", default=METHODS, help="as for atlassegfm evaluate")
    parser.add_argument("--page-only", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    data, out = arguments.data.resolve(), arguments.out.resolve()
    failed = []
    if not arguments.page_only:
        failed = [s.name for s in SETS if s.name in arguments.only and not measure(s, data, out, arguments.methods)]
    write_page(arguments.page.resolve(), out)
    if failed:
        sys.exit(f"not measured: {', '.join(failed)}")


if __name__ == "__main__":
    main()
