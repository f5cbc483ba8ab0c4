"""Scans read from files, the next one while a worker computes the one before."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from atlassegfm.cohort.queries import Query
from atlassegfm.content import path_digest, path_signature
from atlassegfm.errors import AtlasSegError
from atlassegfm.io import read_image
from atlassegfm.volume import Volume


@dataclass(frozen=True, eq=False)
class Scan:
    """A query as it was read.

    Parameters
    ----------
    signature, digest : str
        See `content.path_signature` and `content.path_digest`.
    image : Volume
        The scan.
    """

    signature: str
    digest: str
    image: Volume


def load(query: Query) -> Scan:
    """Read a query.

    Raises
    ------
    AtlasSegError
        If it cannot be read.
    """
    signature, found = path_signature(query.path), query.found
    known = (found.series, found.flawed) if found is not None and found.signature == signature else None
    image = read_image(query.path, series=query.series, found=known)
    return Scan(signature, path_digest(query.path), image)


class Loader:
    """Loads queries, and the one that is expected next in a thread of its own.

    Parameters
    ----------
    told : callable
        Told (from either thread) whether reading ahead is under way.
    """

    def __init__(self, told: Callable[[bool], None]) -> None:
        self._told = told
        self._ahead: Query | None = None
        self._thread: threading.Thread | None = None
        self._scans: dict[Query, Scan] = {}

    def load(self, query: Query, ahead: Query | None) -> Scan:
        """The scan of a query, after which the one `ahead` begins to be read.

        Raises
        ------
        AtlasSegError
            If it cannot be read.
        """
        if self._thread is not None and self._ahead == query:
            self._thread.join()
        # What could not be read ahead is read again, so that the query itself gets the error.
        scan = self._scans.get(query) or load(query)
        self._scans, self._ahead, self._thread = {}, ahead, None
        if ahead is not None:
            self._told(True)
            self._thread = threading.Thread(target=self._read, args=(ahead, self._scans), daemon=True)
            self._thread.start()
        return scan

    def _read(self, query: Query, scans: dict[Query, Scan]) -> None:
        try:
            scans[query] = load(query)
        except (AtlasSegError, OSError, MemoryError):
            # Read again when it is its turn, and told then.
            return
        finally:
            self._told(False)
