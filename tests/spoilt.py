"""A pipeline that takes no time, and spoils its process for some scans."""

from __future__ import annotations

import errno
import os
import signal
import time

from fakes import fake_segment

#: Largest value of a scan: what becomes of the process that segments it.
KILLED, HANGS, FAULTY, NO_SPACE, NO_MEMORY, SLOW = 901, 902, 903, 904, 905, 906


def spoilt_segment(atlas, query, **options):
    code = int(query.data.max())
    if code == KILLED:
        os.kill(os.getpid(), signal.SIGKILL)
    if code == HANGS:
        time.sleep(600)
    if code == FAULTY:
        raise ValueError("a fault\nof ours")
    if code == NO_SPACE:
        raise OSError(errno.ENOSPC, "No space left on device")
    if code == NO_MEMORY:
        raise MemoryError
    if code == SLOW:
        time.sleep(0.5)
    return fake_segment(atlas, query, **options)
