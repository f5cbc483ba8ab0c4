"""What `--engine` and its options mean."""

import pytest

from atlassegfm.cohort.engine_choice import DaskChoice, read_engine
from atlassegfm.errors import InputError


def test_local_is_none_and_dask_has_an_address_or_a_cluster():
    assert read_engine("local", None, None, {}, "auto") is None
    assert read_engine("dask", "tcp://a:1", None, {}, "auto") == DaskChoice("tcp://a:1")
    assert read_engine("dask", None, "local", {}, "2").elsewhere is False


def test_options_are_numbers_and_lists_where_clusters_want_them():
    given = {"cores": "4", "memory": "8GB", "job_extra_directives": "--gres=gpu:1, --nice=100"}
    found = read_engine("dask", None, "slurm", given, "8")
    assert found.options == {"cores": 4, "memory": "8GB", "job_extra_directives": ["--gres=gpu:1", "--nice=100"]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("spark", None, None, {}, "auto"), "--engine: expected one of local, dask"),
        (("local", "tcp://a:1", None, {}, "auto"), "--dask-address: expected --engine dask"),
        (("local", None, None, {"cores": "1"}, "auto"), "--dask-option: expected --engine dask"),
        (("dask", None, None, {}, "auto"), "either --dask-address or --dask-cluster, got neither"),
        (("dask", "tcp://a:1", "local", {}, "auto"), "got both"),
        (("dask", None, "pbs", {}, "2"), "--dask-cluster: expected one of local, slurm"),
        (("dask", "tcp://a:1", None, {}, "3"), "--jobs: a scheduler that is there has its own workers"),
        (("dask", None, "slurm", {}, "auto"), "expected --jobs with the number of SLURM jobs"),
    ],
)
def test_what_contradicts_itself_is_one_line(given, words):
    with pytest.raises(InputError, match=words):
        read_engine(*given)
