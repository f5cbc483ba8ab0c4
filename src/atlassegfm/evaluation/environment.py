"""What an evaluation ran on: versions, machine, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

#: Packages whose version can change a number.
PACKAGES = ("numpy", "scipy", "torch", "scikit-image", "SimpleITK", "nibabel", "edt", "connected-components-3d")


def environment(jobs: int, command: str) -> dict[str, Any]:
    """Versions, machine and commit, as far as they can be found out; JSON-able."""
    from atlassegfm.runtime import available_cores

    return {
        "command": command,
        "atlassegfm": version("atlassegfm"),
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "cores": available_cores(),
        "memory_gb": _memory_gb(),
        "gpu": _gpu(),
        "jobs": jobs,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the checkout that this code runs from, with "+changes" when it has uncommitted ones."""
    folder = Path(__file__).resolve().parent
    try:
        options = {"cwd": folder, "capture_output": True, "encoding": "utf-8", "errors": "replace", "timeout": 10}
        # A package installed somewhere below another project's checkout is not of that project.
        tracked = subprocess.run(["git", "ls-files", "--error-unmatch", Path(__file__).name], check=False, **options)
        if tracked.returncode != 0:
            return None
        head = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], check=True, **options).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "-uno"], check=True, **options).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
    return head + ("+changes" if changed else "")


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "processor unknown"


def _memory_gb() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1)
    except (AttributeError, OSError, ValueError):
        return None


def _gpu() -> str | None:
    """Name of the first CUDA device that torch sees."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
