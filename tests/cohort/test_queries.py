"""What is found below folders, by patterns and in tables, and how it is called."""

import shutil

import numpy as np
import pytest

from atlassegfm.cohort.loading import load
from atlassegfm.cohort.queries import find_queries, is_cohort
from atlassegfm.errors import InputError
from atlassegfm.io import read_image
from dicom_files import write_series


@pytest.fixture
def tree(tmp_path):
    for name in ("a/scan.nii.gz", "b/scan.nii.gz", "b/deep/other.nrrd", ".hidden/x.nii.gz", "b/notes.txt", "one.nii"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path / "in"


def names(queries):
    return [query.name for query in queries]


def test_folders_are_searched_in_order_and_names_are_told_apart_by_folders(tree):
    assert names(find_queries([tree])) == ["one", "a_scan", "b_scan", "other"]
    assert names(find_queries([tree])) == names(find_queries([tree]))


def test_patterns_files_and_folders_give_each_scan_once(tree):
    found = find_queries([tree / "**" / "scan.nii.gz", tree / "a", tree / "one.nii"])
    assert names(found) == ["a_scan", "b_scan", "one"]


def test_names_differ_whatever_the_case(tree):
    (tree / "ONE.nii.gz").write_bytes(b"x")
    found = names(find_queries([tree]))
    assert len({name.lower() for name in found}) == len(found) == 5


def test_atlas_and_results_are_no_queries(tree):
    shutil.copytree(tree / "a", tree / "out")
    found = find_queries([tree], leave_out=[tree / "one.nii", tree / "out"])
    assert names(found) == ["a_scan", "b_scan", "other"]


@pytest.mark.parametrize("path", ["empty", "*.mha", "missing.nii"])
def test_nothing_found_says_so(tree, path):
    (tree / "empty").mkdir()
    with pytest.raises(InputError, match=r"check the path"):
        find_queries([tree / path])


def write_scan(folder, series, study="study"):
    data = np.arange(4 * 5 * 3, dtype="i2").reshape(4, 5, 3)
    write_series(folder, data, np.diag([2.0, 2.0, 3.0, 1.0]), series=series)


def test_dicom_series_are_found_and_named_without_their_folders(tmp_path):
    for patient in ("Quixote", "Panza"):
        write_scan(tmp_path / "in" / patient / "ct", patient)
    (tmp_path / "in" / "Panza" / "DICOMDIR.txt").write_text("x")
    found = find_queries([tmp_path / "in"])
    assert [query.path.parent.name for query in found] == ["Panza", "Quixote"]
    assert all(query.series and query.name.startswith("ct_") for query in found)
    assert len({query.name for query in found}) == 2


def test_two_series_in_one_folder_are_two_queries(tmp_path):
    write_scan(tmp_path / "in", "one")
    write_scan(tmp_path / "more", "two")
    for file in (tmp_path / "more").iterdir():
        file.rename(tmp_path / "in" / f"two{file.name}")
    found = find_queries([tmp_path / "in"])
    assert len({query.series for query in found}) == len({query.name for query in found}) == 2


def test_a_series_in_two_folders_is_one_query_of_the_folder_above(tmp_path):
    write_scan(tmp_path / "in" / "patient" / "a", "one")
    (tmp_path / "in" / "patient" / "b").mkdir()
    for number, file in enumerate(sorted((tmp_path / "in" / "patient" / "a").iterdir())):
        if number != 1:
            shutil.copy(file, tmp_path / "in" / "patient" / "b" / file.name)
    write_scan(tmp_path / "in" / "other", "two")
    found = find_queries([tmp_path / "in"])
    assert [query.path.name for query in found] == ["other", "patient"]
    assert read_image(found[1].path, series=found[1].series).grid.shape[2] == 3


def test_damaged_dicom_stays_in_the_cohort(tmp_path):
    write_scan(tmp_path / "in" / "a", "one")
    write_scan(tmp_path / "in" / "b", "two")
    damaged = sorted((tmp_path / "in" / "b").iterdir())[0]
    damaged.write_bytes(damaged.read_bytes()[:300])
    found = find_queries([tmp_path / "in"])
    assert len(found) == 2
    assert found[1].name.startswith("dicom_")


def test_one_scan_is_no_cohort(tree, tmp_path):
    write_scan(tmp_path / "dicom", "one")
    assert not is_cohort(tmp_path / "dicom")
    assert not is_cohort(tree / "one.nii")
    assert not is_cohort(tree / "missing.nii")
    for path in (tree, tree / "a", tree / "*.nii", tmp_path / "list.csv"):
        assert is_cohort(path)


def test_headers_are_read_once_for_list_name_and_scan(tmp_path, monkeypatch):
    from atlassegfm.io.dicom import headers

    for series in ("first", "second"):
        write_scan(tmp_path / series, series)
    read, count = headers.read_header, []
    for module in ("headers", "series"):
        monkeypatch.setattr(
            f"atlassegfm.io.dicom.{module}.read_header", lambda *args: count.append(args[1]) or read(*args)
        )
    queries = find_queries([tmp_path])
    scans = [load(query) for query in queries]
    assert len(count) == 6
    assert [scan.image.meta["source"]["file"] for scan in scans] == names(queries)
    # What has changed since is read as it is now.
    shutil.rmtree(tmp_path / "first")
    write_series(tmp_path / "first", np.arange(120, dtype="i2").reshape(4, 5, 6), np.eye(4), series="first")
    changed = next(query for query in queries if query.path.name == "first")
    assert load(changed).image.grid.shape == (4, 5, 6)
