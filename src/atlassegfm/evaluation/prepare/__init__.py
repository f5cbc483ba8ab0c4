"""Public data sets, from the download to the layout that `atlassegfm evaluate` reads."""

from atlassegfm.evaluation.prepare.base import Prepared, Source, prepare
from atlassegfm.evaluation.prepare.registry import SOURCES, source

__all__ = ["SOURCES", "Prepared", "Source", "prepare", "source"]
