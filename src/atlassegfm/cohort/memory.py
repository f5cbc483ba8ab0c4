"""How many workers fit: into the cores, and into the memory that is free."""

from __future__ import annotations

from pathlib import Path

from atlassegfm.errors import InputError
from atlassegfm.runtime import available_cores

#: A worker with its packages, before any scan, in bytes. This and the next: above all that benchmarks/cohort_memory.py
#: has measured with the default pipeline (decision 10).
BASE_BYTES = 700e6
#: What a case takes beyond that per voxel of the atlas, up to so many voxels, and for those beyond: working copies are
#: then coarser than the scan.
BYTES_PER_VOXEL, MANY_VOXELS, BYTES_PER_FURTHER_VOXEL = 225.0, 6e6, 150.0
#: What each atlas beyond the first adds per voxel: itself, its working copies, its registration, its place in the vote.
BYTES_PER_ATLAS_VOXEL = 40.0
#: Part of the free memory that is planned with.
SHARE = 0.8
_CGROUPS = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


def read_jobs(text: str) -> int | None:
    """`--jobs` as a number, None for "auto".

    Raises
    ------
    InputError
        If it is neither.
    """
    if text == "auto":
        return None
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise InputError(f"--jobs: expected auto or a number from 1, got {text!r}")
    return int(text)


def auto_jobs(voxels: int, cases: int, device: str, free: float | None = None, *, further: int = 0) -> int:
    """Workers that fit.

    Parameters
    ----------
    voxels : int
        Of the atlas, which stands for its cohort.
    cases : int
        No more workers than these.
    device : {"cpu", "cuda"}
        One worker per GPU.
    free : float, optional
        Bytes, for tests; None asks the system.
    further : int
        Voxels of all atlases but the largest, together.
    """
    if device == "cuda":
        return 1
    free = free_bytes() if free is None else free
    fitting = int(SHARE * free / (bytes_needed(voxels) + BYTES_PER_ATLAS_VOXEL * further)) if free else 1
    return max(1, min(available_cores(), cases, fitting))


def bytes_needed(voxels: int) -> float:
    """Memory of a worker whose atlas and query have so many voxels each."""
    return (
        BASE_BYTES + BYTES_PER_VOXEL * min(voxels, MANY_VOXELS) + BYTES_PER_FURTHER_VOXEL * max(0, voxels - MANY_VOXELS)
    )


def free_bytes() -> float:
    """Memory that can be taken, within the limits of a container; 0 when the system does not tell."""
    found = []
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found.append(float(line.split()[1]) * 1024)
    except OSError:
        return 0.0
    for limit, used in _CGROUPS:
        try:
            found.append(float(limit.read_text(encoding="ascii")) - float(used.read_text(encoding="ascii")))
        except (OSError, ValueError):
            # No such control group, or "max": no limit.
            continue
    return max(0.0, min(found, default=0.0))
