"""Dataset folders: what is read, and the one line that each broken one gets."""

import json

import pytest

from atlassegfm.errors import InputError
from atlassegfm.evaluation.dataset import Dataset


@pytest.fixture
def folder(tmp_path):
    facts = {
        "name": "Toy",
        "modality": "CT",
        "labels": {"0": "background", "2": "spleen", "1": "liver"},
        "licence": "CC0",
    }
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    for kind in ("images", "labels"):
        (tmp_path / kind).mkdir()
        for case in ("b", "a"):
            (tmp_path / kind / f"{case}.nii.gz").write_bytes(f"{kind} {case}".encode())
    return tmp_path


def test_reads_names_labels_and_cases(folder):
    found = Dataset.load(folder)
    assert (found.name, found.modality, found.licence) == ("Toy", "CT", "CC0")
    assert found.labels == {1: "liver", 2: "spleen"}
    assert found.ids == ("a", "b")
    assert found.case("b").labels == folder / "labels" / "b.nii.gz"


def test_other_formats_and_stray_files_are_sorted_out(folder):
    (folder / "images" / "c.nrrd").write_bytes(b"x")
    (folder / "labels" / "c.mha").write_bytes(b"x")
    (folder / "images" / "._a.nii.gz").write_bytes(b"mac")
    (folder / "images" / "notes.txt").write_bytes(b"hello")
    assert Dataset.load(folder).ids == ("a", "b", "c")


def test_digest_follows_the_bytes(folder):
    before = Dataset.load(folder).case("a").digest()
    assert before == Dataset.load(folder).case("a").digest() != Dataset.load(folder).case("b").digest()
    (folder / "labels" / "a.nii.gz").write_bytes(b"another label map")
    assert Dataset.load(folder).case("a").digest() != before


def test_chosen_labels(folder):
    found = Dataset.load(folder)
    assert found.chosen_labels() == {1: "liver", 2: "spleen"}
    assert found.chosen_labels([2]) == {2: "spleen"}
    with pytest.raises(InputError, match="no label 7"):
        found.chosen_labels([1, 7])
    with pytest.raises(InputError, match="no case 'z'"):
        found.case("z")


def remove(path):
    path.unlink()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda f: remove(f / "dataset.json"), "dataset.json: missing"),
        (lambda f: (f / "dataset.json").write_text("{"), "not readable as JSON"),
        (lambda f: (f / "dataset.json").write_text("[]"), "expected a JSON object"),
        (lambda f: (f / "dataset.json").write_text("{}"), 'expected "labels"'),
        (lambda f: (f / "dataset.json").write_text('{"labels": {"liver": 1}}'), "'liver' is not a whole number"),
        (lambda f: (f / "dataset.json").write_text('{"labels": {"0": "bg"}}'), "nothing but the background"),
        (lambda f: remove(f / "labels" / "a.nii.gz"), "a.nii.gz: no label map in labels/"),
        (lambda f: remove(f / "images" / "b.nii.gz"), "b.nii.gz: no image in images/"),
        (lambda f: (f / "images" / "a.nii").write_bytes(b""), "there twice"),
        (lambda f: [remove(f / k / "a.nii.gz") for k in ("images", "labels")], "at least two cases"),
        (lambda f: [remove(f / "images" / f"{c}.nii.gz") for c in "ab"], "holds no scan"),
        (lambda f: (f / "images").rename(f / "pictures"), "no such folder"),
    ],
)
def test_broken_folders_get_one_line(folder, break_it, message):
    break_it(folder)
    with pytest.raises(InputError, match=message) as caught:
        Dataset.load(folder)
    assert "\n" not in str(caught.value)


def test_missing_folder(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        Dataset.load(tmp_path / "nowhere")
