"""A stack of slices as a video: range, prompt, both directions, through the packages' own code where it is there."""

from __future__ import annotations

import numpy as np
import pytest

import echoes
import fabricated
from atlassegfm.models.base import prompt_from_labels
from atlassegfm.models.catalogue.sam2 import _points
from atlassegfm.models.registry import create_model
from atlassegfm.models.video import FramePrompt, VideoOptions, normalised
from atlassegfm.volume import Grid, Volume

GRID = Grid((24, 26, 20), np.diag([1.0, 1.5, 3.0, 1.0]))


def scene() -> tuple[Volume, Volume]:
    labels = np.zeros(GRID.shape, np.uint8)
    labels[6:15, 8:19, 7:12] = 1
    return Volume((labels * 100.0 + 50.0).astype(np.float32), GRID), Volume(labels, GRID)


@pytest.mark.parametrize(("reach_mm", "slices"), [(0.0, (7, 12)), (3.0, (6, 13)), (7.0, (4, 15)), (500.0, (0, 20))])
def test_it_is_followed_as_far_as_asked_for(monkeypatch, reach_mm, slices):
    stand_in, seen = echoes.installed(monkeypatch, "sam2", "image"), []

    def follow(self, frames, prompt):
        seen.append((len(frames), prompt.frame))
        yield prompt.frame, np.zeros(frames.shape[1:])

    monkeypatch.setattr(stand_in.session, "_follow", follow)
    model = stand_in.session(device="cpu", seed=0, options=VideoOptions(reach_mm=reach_mm))
    image, labels = scene()
    model.set_image(image)
    model.segment(prompt_from_labels(labels, 1, "box"))
    assert seen == [(slices[1] - slices[0], 9 - slices[0])]


def test_frames_that_are_passed_twice_count_once_and_far_parts_are_dropped(monkeypatch):
    stand_in = echoes.installed(monkeypatch, "sam2", "image")

    def follow(self, frames, prompt):
        logits = np.full(frames.shape[1:], -20.0)
        logits[5:12, 5:12] = 20.0
        yield prompt.frame, logits
        yield prompt.frame, -logits
        logits = logits.copy()
        logits[20:22, 20:22] = 20.0
        yield prompt.frame + 1, logits

    monkeypatch.setattr(stand_in.session, "_follow", follow)
    model = stand_in.session(device="cpu", seed=0)
    image, labels = scene()
    model.set_image(image)
    found = model.segment(prompt_from_labels(labels, 1, "box"))
    np.testing.assert_allclose(found[:, :, 9], 0.5, atol=1e-6)
    assert (found[:, :, 10] > 0.9).sum() in (49, 53)


def test_prompts_are_given_in_the_networks_pixels():
    click = _points(FramePrompt(3, point=(7, 2)), (20, 26), 1024)
    np.testing.assert_allclose((click["point_coords"][0, 0, 0] + 0.5) / 1024, [7.5 / 26, 2.5 / 20])
    assert click["point_labels"].tolist() == [[[1]]]
    box = _points(FramePrompt(3, box=(4, 2, 10, 5)), (20, 26), 1024)
    corners = (box["point_coords"][0, 0] + 0.5).numpy() / 1024 * [26, 20]
    np.testing.assert_allclose(corners, [[4, 2], [11, 6]], atol=1e-5)
    assert box["point_labels"].tolist() == [[[2, 3]]]


def test_frames_are_scaled_as_in_training():
    frames = np.zeros((2, 10, 14), np.uint8)
    frames[1] = 255
    tensor = normalised(frames, 32)
    assert tuple(tensor.shape) == (2, 3, 32, 32)
    np.testing.assert_allclose(tensor[0, :, 0, 0], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225], rtol=1e-5)
    np.testing.assert_allclose(tensor[1, 0], (1 - 0.485) / 0.229, rtol=1e-5)


@pytest.mark.parametrize("name", ["sam2", "medsam2"])
def test_a_mask_prompt_stays_where_it_is_in_the_real_package(name, tmp_path):
    """SAM 2 gives the mask of the prompted frame back as it was told: rows, columns and slice have to be right."""
    weights = fabricated.FABRICATED[name](tmp_path)
    model = create_model(name, device="cpu", seed=0, weights=weights, options=fabricated.QUICK[name])
    image, labels = scene()
    model.set_image(image)
    found = model.segment(prompt_from_labels(labels, 1, "mask"))[:, :, 9]
    inside = labels.data[:, :, 9] == 1
    core = np.zeros_like(inside)
    core[8:13, 10:17] = True
    far = np.zeros_like(inside)
    far[:3], far[-5:], far[:, :5], far[:, -4:] = True, True, True, True
    assert found[core].mean() > found[far].mean() + 0.3
