"""Pairs of files, and folders of them."""

from pathlib import Path

import pytest

from atlassegfm.atlases.files import atlas_files
from atlassegfm.errors import InputError

A, B = Path("a.nii.gz"), Path("b.nii.gz")


@pytest.fixture
def folder(tmp_path):
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
        for name in ("two.nii.gz", "one.nii.gz", "notes.txt", ".hidden.nii.gz"):
            (tmp_path / part / name).touch()
    return tmp_path


def test_pairs_keep_their_order():
    assert atlas_files([B, A], [A, B]) == ((B, A), (A, B))
    assert atlas_files([A], [B]) == ((A, B),)


def test_a_folder_gives_its_scans_by_name(folder):
    expected = tuple((folder / "images" / n, folder / "labels" / n) for n in ("one.nii.gz", "two.nii.gz"))
    assert atlas_files([folder], []) == expected
    assert atlas_files([folder], [folder / "labels"]) == expected


@pytest.mark.parametrize(
    ("atlases", "labels", "said"),
    [
        ([A, B], [A], "--labels: expected one for each --atlas, in the same order, got 1 for 2"),
        ([A], [], "got 0 for 1"),
        ([], [], "--atlas: expected"),
        ([A, B, A], [A, B, A], "a.nii.gz: given twice as --atlas"),
    ],
)
def test_pairs_that_do_not_fit(atlases, labels, said):
    with pytest.raises(InputError, match=said):
        atlas_files(atlases, labels)


def test_folders_that_do_not_fit(folder):
    with pytest.raises(InputError, match=r"expected none, or .*labels, for a folder of atlases"):
        atlas_files([folder], [folder / "images"])
    with pytest.raises(InputError, match="given beside 1 other"):
        atlas_files([folder, A], [A])
    (folder / "labels" / "one.nii.gz").unlink()
    with pytest.raises(InputError, match=r"one.nii.gz: no label map of this name"):
        atlas_files([folder], [])
    (folder / "labels" / "one.nii.gz").touch()
    (folder / "images" / "one.nrrd").touch()
    with pytest.raises(InputError, match="has the same name"):
        atlas_files([folder], [])
