"""Several atlases from files, with the labels that are wanted."""

import numpy as np
import pytest
from vote_scene import scan

from atlassegfm.atlases.loading import load_atlases
from atlassegfm.errors import InputError
from atlassegfm.io import write_image, write_labels


@pytest.fixture
def files(tmp_path):
    """The first has labels 1 and 2, the second 1 and 3."""
    made = []
    for number, other in ((1, 2), (2, 3)):
        image, labels = scan(seed=number)
        labels.data[:3, :3, :3] = other
        paths = tmp_path / f"{number}.nii.gz", tmp_path / f"{number}_labels.nii.gz"
        write_image(paths[0], image)
        write_labels(paths[1], labels, image, {})
        made.append(paths)
    return made


NAMES = {1: "liver", 2: "spleen", 3: "aorta"}


def test_each_keeps_those_of_the_wanted_labels_that_it_has(files):
    assert [a.values for a in load_atlases(files, names=NAMES)] == [[1, 2], [1, 3]]
    chosen = load_atlases(files, names=NAMES, only=[1, 3])
    assert [a.values for a in chosen] == [[1], [1, 3]]
    assert set(np.unique(chosen[0].labels.data)) == {0, 1}
    assert [a.names for a in load_atlases(files, names=NAMES, rois=["LIVER", "spleen"])] == [
        {1: "liver", 2: "spleen"},
        {1: "liver"},
    ]


def test_wanted_labels_that_are_not_there(files):
    with pytest.raises(InputError, match="asked for label values 9, which none of the atlases has; they have 1, 2, 3"):
        load_atlases(files, names=NAMES, only=[1, 9])
    with pytest.raises(InputError, match=r"1_labels.nii.gz: has none of the labels 3; leave this atlas out"):
        load_atlases(files, names=NAMES, only=[3])
    with pytest.raises(InputError, match="no structure is called 'heart'"):
        load_atlases(files, names=NAMES, rois=["heart"])


def test_one_atlas_is_read_as_ever(files):
    (alone,) = load_atlases(files[:1], names=NAMES, only=[2])
    assert alone.names == {2: "spleen"}
    with pytest.raises(InputError, match="it has 1, 2"):
        load_atlases(files[:1], only=[9])
