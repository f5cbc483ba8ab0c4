"""Pairs and labels that the method is not made for."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from atlassegfm.atlas import Atlas
from atlassegfm.phantom import make_pair
from atlassegfm.pipeline import segment
from atlassegfm.registration.result import RegistrationResult
from atlassegfm.registration.transform import Affine, Transform
from atlassegfm.suspecting import suspicions_of_label, suspicions_of_pair, turned_by
from atlassegfm.volume import Grid, Volume


@pytest.fixture(scope="module")
def pair():
    return make_pair(0, shape=(40, 34, 27), spacing=(6.0, 6.0, 7.0))


def mirrored(volume: Volume) -> Volume:
    """The patient with left and right exchanged on the same grid."""
    across = int(np.abs(volume.affine[0, :3]).argmax())
    return volume.with_data(np.ascontiguousarray(np.flip(volume.data, across)))


def turned(degrees: float) -> RegistrationResult:
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees) * np.array([0.6, 0.8, 0])).as_matrix() @ np.diag(
        [1.2, 1, 0.9]
    )
    return RegistrationResult(Transform((Affine(matrix),)))


@pytest.mark.parametrize("name", ["lesion", "Liver_Tumour", "brain metastasis", "GTV-1", "PTV_60Gy", "infarct core"])
def test_lesions_and_targets_are_known_by_name(name):
    assert len(suspicions_of_label(name)) == 1


@pytest.mark.parametrize("name", ["liver", "left kidney", "septum", "structure 4", "vtv", "gtvalve", "optic chiasm"])
def test_anatomy_is_no_lesion(name):
    assert suspicions_of_label(name) == []


def test_a_right_pair_raises_no_suspicion(pair):
    assert suspicions_of_pair(pair.image, pair.query, turned(12.0)) == []


def test_left_and_right_exchanged_is_seen(pair):
    found = suspicions_of_pair(pair.image, mirrored(pair.query), turned(0.0))
    assert len(found) == 1
    assert "left and right" in found[0]


def test_a_quarter_turn_is_told_with_its_angle(pair):
    found = suspicions_of_pair(pair.image, pair.query, turned(90.0))
    assert len(found) == 1
    assert "turned by 9" in found[0] or "turned by 8" in found[0]
    assert turned_by(np.eye(4)) == 0.0
    assert turned_by(np.diag([-1.0, 1.0, 1.0, 1.0])) == 180.0


def test_a_ct_and_something_else_is_told(pair):
    hounsfield = pair.image.with_data(np.where(pair.image.data > 20, pair.image.data, -1000.0).astype(np.float32))
    found = suspicions_of_pair(hounsfield, pair.query, turned(0.0))
    assert found[0].startswith("atlas and query are of different kinds (CT and no CT)")


def test_images_that_cannot_be_compared_are_no_reason_to_fail(pair):
    flat = Volume(np.zeros((8, 8, 8), np.float32), Grid((8, 8, 8), np.eye(4)))
    assert suspicions_of_pair(pair.image, flat, turned(0.0)) == []


def test_a_mirrored_query_and_a_lesion_end_in_no_good_label(pair):
    atlas = Atlas(pair.image, pair.labels, {**pair.names, 5: "aorta lesion"})
    out = segment(atlas, mirrored(pair.query), model="none", registration="affine")
    assert any("left and right" in text for text in out.warnings)
    assert any(text.startswith("aorta lesion: its name tells") for text in out.warnings)
    assert all(entry["quality"]["word"] != "good" for entry in out.report["labels"])
    last = out.report["labels"][-1]["quality"]["reasons"]
    assert any("lesion or target" in reason for reason in last) or last == ["nothing was found"]
