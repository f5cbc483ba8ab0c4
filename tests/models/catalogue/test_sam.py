"""SAM and MedSAM: what reaches the network, and what comes back, through transformers' own processor."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import echoes
import fabricated
from atlassegfm.models.base import prompt_from_labels
from atlassegfm.models.catalogue.sam import _SamNetwork
from atlassegfm.models.registry import create_model
from atlassegfm.volume import Grid, Volume

SIZE, LOW = 1024, 256


class Network:
    """Answers with the picture it was shown, in the resolution in which SAM answers; keeps its prompts."""

    config = SimpleNamespace(vision_config=SimpleNamespace(image_size=SIZE, patch_size=16))

    def get_image_embeddings(self, pixels):
        self.pixels = pixels
        return pixels

    def __call__(self, image_embeddings, multimask_output, **told):
        import torch
        from torch.nn.functional import avg_pool2d

        self.told, self.multimask = told, multimask_output
        bright = avg_pool2d(image_embeddings[:, :1], SIZE // LOW)
        masks = torch.where(bright > 0, 9.0, -9.0)[:, None]
        return SimpleNamespace(pred_masks=masks, iou_scores=torch.ones(1, 1, 1))


@pytest.fixture
def network():
    fabricated.needs("sam")
    fabricated.mend()
    from transformers import SamImageProcessorPil, SamProcessor

    return _SamNetwork(Network(), SamProcessor(SamImageProcessorPil()))


@pytest.mark.parametrize("shape", [(20, 26), (26, 20), (33, 33), (7, 40)])
def test_pictures_and_prompts_lie_on_the_same_voxels_in_the_network(network, shape):
    picture = np.full(shape, 10, np.uint8)
    rows, columns = slice(2, 5), slice(4, 11)
    picture[rows, columns] = 240
    embedding = network.embedding(picture, "cpu")
    found = network.answer(embedding, shape, "cpu", box=(4, 2, 10, 4))
    expected = np.zeros(shape, bool)
    expected[rows, columns] = True
    np.testing.assert_array_equal(found > 0.5, expected)
    scale = SIZE / max(shape)
    box = network.network.told["input_boxes"][0, 0].numpy()
    np.testing.assert_allclose(box / scale, (4, 2, 11, 5), atol=0.05)
    # In the network's own pixels: bright within the box, dark around it.
    x0, y0, x1, y1 = np.round(box).astype(int)
    shown = network.network.pixels[0, 0].numpy() > 0
    # Corners are rounded where a voxel becomes tens of pixels.
    assert shown[y0:y1, x0:x1].mean() > 0.95
    assert shown.sum() == pytest.approx((x1 - x0) * (y1 - y0), rel=0.1)


def test_a_click_lands_in_the_middle_of_its_voxel(network):
    picture = np.zeros((20, 26), np.uint8)
    network.answer(network.embedding(picture, "cpu"), picture.shape, "cpu", point=(7, 3))
    x, y = network.network.told["input_points"][0, 0, 0].numpy() / (SIZE / 26)
    assert (x, y) == (pytest.approx(7.5, abs=0.02), pytest.approx(3.5, abs=0.02))
    assert network.network.multimask


def test_a_mask_covers_the_same_part_of_the_low_resolution_picture(network):
    mask = np.zeros((20, 26), bool)
    mask[5:15, 6:12] = True
    network.answer(
        network.embedding(np.zeros(mask.shape, np.uint8), "cpu"), mask.shape, "cpu", box=(6, 5, 11, 14), mask=mask
    )
    low = network.network.told["input_masks"][0, 0].numpy() > 0
    assert low.shape == (LOW, LOW)
    rows, columns = np.flatnonzero(low.any(axis=1)), np.flatnonzero(low.any(axis=0))
    scale = LOW / 26
    np.testing.assert_allclose([rows[0], rows[-1] + 1], [5 * scale, 15 * scale], atol=1.0)
    np.testing.assert_allclose([columns[0], columns[-1] + 1], [6 * scale, 12 * scale], atol=1.0)


def test_embeddings_are_computed_once_for_all_labels(tmp_path, monkeypatch):
    model = create_model("sam", device="cpu", seed=0, weights=fabricated.sam(tmp_path), options={"axis": "axial"})
    grid = Grid((20, 18, 6), np.diag([1.0, 1.0, 3.0, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[3:9, 3:9, 1:4], labels[10:16, 4:12, 2:5] = 1, 2
    model.set_image(Volume(np.random.default_rng(0).random(grid.shape, np.float32), grid))
    count, embedding = [], _SamNetwork.embedding
    monkeypatch.setattr(_SamNetwork, "embedding", lambda *a: count.append(1) or embedding(*a))
    for value in (1, 2, 1):
        model.segment(prompt_from_labels(Volume(labels, grid), value, "box"))
    assert len(count) == 4  # slices 1 to 4


def test_each_slice_of_the_label_is_asked_about_and_no_other(monkeypatch):
    stand_in = echoes.installed(monkeypatch, "medsam", "prompt")
    model = stand_in.session(device="cpu", seed=0)
    grid = Grid((20, 18, 6), np.diag([1.0, 1.0, 3.0, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    for number, (low, high) in {1: (3, 9), 2: (5, 8), 4: (6, 7)}.items():
        labels[low:high, 4:9, number] = 1
    model.set_image(Volume(np.ones(grid.shape, np.float32), grid))
    found = model.segment(prompt_from_labels(Volume(labels, grid), 1, "box"))
    np.testing.assert_array_equal(found > 0.5, labels == 1)
