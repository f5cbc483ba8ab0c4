"""The largest resident memory of this process since a moment that the caller chooses."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def reset_peak() -> None:
    """Start counting from now; where the system cannot (anything but Linux), the peak stays that of the process."""
    with contextlib.suppress(OSError):
        # "5" resets the peak resident set size, see proc(5).
        _CLEAR.write_text("5", encoding="ascii")


def peak_mb() -> float:
    """Peak resident memory since `reset_peak`, in MB (10^6 bytes); 0 when the system does not tell."""
    try:
        for line in _STATUS.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    except OSError:
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / 1e6 if sys.platform == "darwin" else used * 1024 / 1e6
