"""The CSV table: what it may hold, and what is said about one that cannot be used."""

import pytest

from atlassegfm.cohort.queries import find_queries
from atlassegfm.cohort.table import read_table
from atlassegfm.errors import InputError


@pytest.fixture
def folder(tmp_path):
    for name in ("a.nii.gz", "b.nii.gz", "atlas.nii.gz", "labels.nii.gz"):
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def write(folder, text):
    (folder / "list.csv").write_text(text, encoding="utf-8")
    return folder / "list.csv"


@pytest.mark.parametrize("mark", [",", ";"])
def test_a_table_gives_queries_with_names_and_atlases(folder, mark):
    text = "\ufeffquery,name,atlas,labels\na.nii.gz,first,atlas.nii.gz,labels.nii.gz\n\nb.nii.gz,,,\n"
    first, second = find_queries([write(folder, text.replace(",", mark))])
    assert (first.path, first.name, first.atlas) == (folder / "a.nii.gz", "first", folder / "atlas.nii.gz")
    assert (second.name, second.atlas, second.labels) == ("b", None, None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scan\na.nii.gz\n", "columns query"),
        ("query,colour\na.nii.gz,red\n", "columns query"),
        ("query\nc.nii.gz\n", "line 2.*no such file"),
        ("query,name\na.nii.gz,../x\n", "line 2.*name of letters"),
        ("query,atlas,labels\na.nii.gz,atlas.nii.gz,\n", "atlas and labels together"),
        ("query,atlas,labels\na.nii.gz,x.nii,labels.nii.gz\n", "x.nii: no such file"),
        ("query,name\na.nii.gz,x,y\n", "more"),
        ("query,name\n,x\n", "got nothing"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(folder, text, words):
    with pytest.raises(InputError, match=words):
        read_table(write(folder, text))


def test_two_lines_of_one_name_are_refused(folder):
    with pytest.raises(InputError, match="output name 'X'"):
        find_queries([write(folder, "query,name\na.nii.gz,x\nb.nii.gz,X\n")])
