"""Where the workers of Dask come from: a scheduler that is there, or a cluster that is started for one run."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlassegfm.cohort.engine_choice import GPU, DaskChoice
from atlassegfm.errors import InputError

if TYPE_CHECKING:
    from distributed import Security

#: Of clusters that are ours.
CONFIG = {
    # No worker gets a case before it can begin with it: another one may come sooner.
    "distributed.scheduler.worker-saturation": 1.0,
    # Looks into the worker a hundred times a second, at a process that only waits.
    "distributed.worker.profile.enabled": False,
}

#: Its pages are for nobody else; any port, as 8787 may be taken.
DASHBOARD = "127.0.0.1:0"


@dataclass(frozen=True)
class Reached:
    """A scheduler that can be talked to.

    Parameters
    ----------
    address : str
        Its address.
    security : Security or None
        Certificates for it.
    own : bool
        Whether it is ours, and ends with this process.
    """

    address: str
    security: Security | None
    own: bool


@contextmanager
def reached(choice: DaskChoice, jobs: int, state: Path, *, cuda: bool = False) -> Iterator[Reached]:
    """The scheduler of a choice; a cluster that is started here ends with the context.

    Whoever can talk to a scheduler can run code: that of SLURM jobs speaks TLS with certificates made for this run, the
    one of a local cluster with its own process only.

    Parameters
    ----------
    choice : DaskChoice
        See there.
    jobs : int
        Workers to start.
    state : Path
        Folder that all machines see, for certificates and logs of jobs.
    cuda : bool
        Whether they are to offer a GPU each.

    Raises
    ------
    InputError
        If a package is missing or the cluster does not take its options.
    """
    check_installed()
    # What the user should know is said by us; Dask also tells of every connection that ends.
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    if choice.address:
        yield Reached(choice.address, None, own=False)
        return
    import dask

    with dask.config.set(CONFIG), _started(choice, jobs, state, cuda) as cluster:
        yield Reached(cluster.scheduler_address, cluster.security, own=True)


def check_installed() -> None:
    """See whether Dask is there.

    Raises
    ------
    InputError
        Says how to install it.
    """
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise InputError(
            "--engine dask: expected the package distributed, which is not installed here; "
            "run: pip install 'atlassegfm[dask]'"
        ) from error


@contextmanager
def _started(choice: DaskChoice, jobs: int, state: Path, cuda: bool) -> Iterator[Any]:
    try:
        if choice.cluster == "slurm":
            cluster = _slurm(choice.options, jobs, state, cuda)
        else:
            from distributed import LocalCluster

            # In this process, and so behind no port: what has to be apart is, in the pool that each worker has.
            cluster = LocalCluster(
                n_workers=jobs,
                threads_per_worker=1,
                processes=False,
                dashboard_address=DASHBOARD,
                resources={GPU: 1} if cuda else None,
                silence_logs=logging.CRITICAL,
                **choice.options,
            )
    except (TypeError, ValueError, RuntimeError, OSError, ImportError) as error:
        # What follows the first sentence is the inside of dask-jobqueue.
        text = " ".join(str(error).split()).partition(". ")[0]
        raise InputError(f"--dask-cluster {choice.cluster}: cannot be started ({text}); see --dask-option") from error
    with contextlib.closing(cluster):
        yield cluster


def _slurm(options: Mapping[str, Any], jobs: int, state: Path, cuda: bool) -> Any:  # noqa: ANN401
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError as error:
        raise InputError(
            "--dask-cluster slurm: expected the package dask-jobqueue, which is not installed here; "
            "run: pip install 'atlassegfm[dask]'"
        ) from error
    ours = {"processes": 1, "security": True, "scheduler_options": {"dashboard_address": DASHBOARD}}
    given = {**ours, "shared_temp_directory": str(state), "log_directory": str(state / "slurm"), **options}
    if cuda:
        given["worker_extra_args"] = [*given.get("worker_extra_args", []), "--resources", f"{GPU}=1"]
    cluster = SLURMCluster(**given)
    cluster.scale(jobs=jobs)
    return cluster
