"""Ways to a label map: the pipeline itself, and what it has to be compared with."""

from atlassegfm.evaluation.baselines.base import Job, Outcome
from atlassegfm.evaluation.baselines.registry import PROCEDURES

__all__ = ["PROCEDURES", "Job", "Outcome"]
