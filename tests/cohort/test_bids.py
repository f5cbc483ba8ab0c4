"""Which images of a BIDS dataset are queries."""

import json
from types import SimpleNamespace

import pytest

from atlassegfm.cohort.bids import BidsName, Wanted, find_bids
from atlassegfm.errors import InputError


@pytest.fixture
def dataset(tmp_path):
    """Two subjects with sessions, one without; files without content, as nothing is read here."""
    (tmp_path / "dataset_description.json").write_text(json.dumps({"Name": "raw", "BIDSVersion": "1.10.0"}))

    def add(place, name):
        folder = tmp_path / place / "anat"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.nii.gz").touch()
        (folder / f"{name}.json").touch()

    for subject in ("01", "02"):
        for session in ("a", "b"):
            add(f"sub-{subject}/ses-{session}", f"sub-{subject}_ses-{session}_T1w")
    add("sub-03", "sub-03_acq-fast_run-1_T1w")
    add("sub-03", "sub-03_acq-slow_T1w")
    (tmp_path / "derivatives" / "other" / "sub-01" / "anat").mkdir(parents=True)
    (tmp_path / "derivatives" / "other" / "sub-01" / "anat" / "sub-01_T1w.nii.gz").touch()
    return SimpleNamespace(path=tmp_path, add=add)


def names(dataset, **wanted):
    return [query.name for query in find_bids(dataset.path, Wanted(**wanted))]


def test_all_images_of_the_raw_dataset_in_order(dataset):
    assert names(dataset) == [
        "sub-01_ses-a_T1w", "sub-01_ses-b_T1w", "sub-02_ses-a_T1w", "sub-02_ses-b_T1w",
        "sub-03_acq-fast_run-1_T1w", "sub-03_acq-slow_T1w",
    ]  # fmt: skip


def test_participants_sessions_and_entities(dataset):
    assert names(dataset, participants=("sub-02", "03"), entities={"acq": "slow"}) == ["sub-03_acq-slow_T1w"]
    assert names(dataset, participants=("01",), sessions=("ses-b",)) == ["sub-01_ses-b_T1w"]


def test_the_atlas_is_no_query(dataset):
    atlas = dataset.path / "sub-01" / "ses-a" / "anat" / "sub-01_ses-a_T1w.nii.gz"
    assert "sub-01_ses-a_T1w" not in [q.name for q in find_bids(dataset.path, Wanted(), leave_out=[atlas])]


def test_several_kinds_of_image_are_a_choice(dataset):
    dataset.add("sub-01/ses-a", "sub-01_ses-a_T2w")
    with pytest.raises(InputError, match=r"got T1w \(6\), T2w \(1\); choose with --suffix"):
        names(dataset)
    assert names(dataset, suffix="T2w") == ["sub-01_ses-a_T2w"]


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        ({"participants": ("09",)}, "sub-09 is not in .*; it has sub-01, sub-02, sub-03"),
        ({"sessions": ("c",)}, "no NIfTI image"),
        ({"sessions": ("a", "c")}, "--session-label c: no T1w image"),
        ({"suffix": "T2w"}, r"no T2w image of data type anat as asked for; there is T1w \(6\)"),
        ({"datatype": "pet"}, "no NIfTI image of data type pet"),
    ],
)
def test_what_is_not_there_is_one_line(dataset, wanted, words):
    with pytest.raises(InputError, match=words):
        names(dataset, **wanted)


def test_a_folder_that_is_no_dataset(dataset):
    (dataset.path / "dataset_description.json").write_text("[]")
    with pytest.raises(InputError, match="expected a JSON object"):
        names(dataset)
    (dataset.path / "dataset_description.json").unlink()
    with pytest.raises(InputError, match="expected a BIDS dataset"):
        names(dataset)


@pytest.mark.parametrize("text", ["T1w", "ses-1_T1w", "sub-01", "sub-01_T1w_x", "sub-_T1w", "sub-0.1_T1w"])
def test_other_names_are_none(text):
    assert BidsName.read(text) is None


def test_another_reader_finds_the_same(dataset):
    ancpbids = pytest.importorskip("ancpbids", reason="installed with the extra dev")
    layout = ancpbids.BIDSLayout(str(dataset.path))

    def found(**entities):
        files = layout.get(suffix="T1w", extension=".nii.gz", scope="raw", return_type="filename", **entities)
        return sorted(file.rsplit("/", 1)[-1].removesuffix(".nii.gz") for file in files)

    assert found() == sorted(names(dataset))
    assert found(sub="02", ses="b") == names(dataset, participants=("02",), sessions=("b",))
    assert found(acq="slow") == names(dataset, entities={"acq": "slow"})
