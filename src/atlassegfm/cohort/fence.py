"""Who may write into a folder of results: the run that holds its lock now, and none that was cut off from its workers.

Workers on other machines live on when their runner is killed or loses them. A run leaves a mark of its own; a worker
that does not find it any more belongs to a run that is over, and drops what it has.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atlassegfm.io import write_text_atomic


class Fence:
    """The mark of a run.

    Parameters
    ----------
    path : Path
        File that holds it, where all workers can read it.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.mark = path, ""

    def renew(self) -> None:
        """Shut out whoever worked for this run until now."""
        self.mark = secrets.token_hex(8)
        write_text_atomic(self.path, self.mark)


@contextmanager
def fenced(path: Path) -> Iterator[Fence]:
    """A new mark, which goes when the run is over."""
    fence = Fence(path)
    fence.renew()
    try:
        yield fence
    finally:
        path.unlink(missing_ok=True)


def is_current(path: Path, mark: str) -> bool:
    """Whether a mark is that of the run that holds the folder now."""
    try:
        # Opened anew each time: on network file systems that is what makes the newest content come.
        return path.read_text(encoding="ascii") == mark
    except OSError:
        return False
