"""What `--engine` and its options mean; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from atlassegfm.errors import InputError

#: Names of `--engine`, and of `--dask-cluster`.
ENGINES = ("local", "dask")
CLUSTERS = ("local", "slurm")
#: Resource of Dask that a worker with a GPU offers, as its documentation calls it.
GPU = "GPU"
#: Options of dask-jobqueue that are lists.
_LISTS = ("_args", "_directives", "_prologue", "_skip")


@dataclass(frozen=True)
class DaskChoice:
    """Which cluster.

    Parameters
    ----------
    address : str or None
        Of a scheduler, such as ``tcp://host:8786``.
    cluster : str or None
        One of `CLUSTERS`, when there is no address.
    options : mapping
        Of that cluster, such as queue, cores, memory and walltime of dask-jobqueue.
    """

    address: str | None = None
    cluster: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def elsewhere(self) -> bool:
        """Whether its workers are on other machines than this one, as far as is known."""
        return self.cluster != "local"


def read_engine(
    engine: str, address: str | None, cluster: str | None, options: Mapping[str, str], jobs: str
) -> DaskChoice | None:
    """The cluster that the options of the command line mean; None for processes of this machine.

    Raises
    ------
    InputError
        If they contradict each other.
    """
    if engine not in ENGINES:
        raise InputError(f"--engine: expected one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "local":
        given = [name for name, value in (("address", address), ("cluster", cluster), ("option", options)) if value]
        if given:
            raise InputError(f"--dask-{given[0]}: expected --engine dask with it, got --engine local; add or leave out")
        return None
    if cluster is not None and cluster not in CLUSTERS:
        raise InputError(f"--dask-cluster: expected one of {', '.join(CLUSTERS)}, got {cluster!r}")
    if bool(address) == bool(cluster):
        got = "both" if address else "neither"
        raise InputError(f"--engine dask: expected either --dask-address or --dask-cluster, got {got}")
    if address and (jobs != "auto" or options):
        what = "--dask-option" if options else "--jobs"
        raise InputError(
            f"{what}: a scheduler that is there has its own workers, so there is nothing to say; leave it out"
        )
    if cluster == "slurm" and jobs == "auto":
        raise InputError("--dask-cluster slurm: expected --jobs with the number of SLURM jobs to start, got auto")
    return DaskChoice(address, cluster, _typed(options))


def _typed(given: Mapping[str, str]) -> dict[str, Any]:
    """Options as clusters take them: whole numbers, and lists where dask-jobqueue wants some."""
    found: dict[str, Any] = {}
    for key, value in given.items():
        if key.endswith(_LISTS):
            found[key] = [part.strip() for part in value.split(",") if part.strip()]
        else:
            found[key] = int(value) if value.isascii() and value.isdecimal() else value
    return found
