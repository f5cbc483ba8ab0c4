"""The geometry of every adapter: a model that repeats what it is shown gives back exactly the voxels of the prompt.

48 axis orders times three spacings, with the real preparation and its way back; only the network is a stand-in
(`echoes`).
"""

from __future__ import annotations

import numpy as np
import pytest

import echoes
from atlassegfm.models.base import prompt_from_labels
from atlassegfm.models.registry import MODELS, model_info
from atlassegfm.volume import Grid, Volume

SPACINGS = [(1.0, 1.0, 1.0), (0.8, 0.9, 3.0), (2.2, 1.2, 1.7)]
SHAPE = (19, 17, 15)
#: Odd edges: from either end there is one middle slice.
BOX = ((4, 13), (5, 12), (3, 8))
PRETRAINED = [name for name in MODELS if model_info(name).weights is not None]
OPTIONS = {"nninteractive": {"samples": 1}, "vesselfm": {"roi": 64}, "vista3d": {"roi": 32}}
#: Stand-ins are called by MONAI's real inference here.
NEEDED = {"vesselfm": "monai", "vista3d": "monai"}


def grids(axis_orders):
    for spacing in SPACINGS:
        for order in axis_orders:
            affine = np.eye(4)
            # The spacing belongs to the axes of the patient, so that the slice axis turns with them.
            affine[:3, :3] = np.diag(spacing) @ order
            affine[:3, 3] = (12.0, -35.5, 80.25)
            yield Grid(SHAPE, affine)


def scene(grid: Grid) -> tuple[Volume, Volume]:
    """A box without symmetry about the volume's centre, brighter than its surroundings, and its label map."""
    labels = np.zeros(grid.shape, np.uint8)
    labels[tuple(slice(*pair) for pair in BOX)] = 1
    # HU between VISTA3D's bounds, and 0 to 1 for those that scale by themselves.
    low, high = -963.8247715525971, 1053.678477684517
    return Volume((low + labels * (high - low)).astype(np.float32), grid), Volume(labels, grid)


def shown(name: str, image: Volume) -> Volume:
    """The scene in values that the model's own preparation keeps apart: others than CT do not go below zero."""
    if name == "vista3d":
        return image
    return image.with_data(
        ((image.data > 0) * 900.0 + (0.0 if name in ("vesselfm", "sam-med3d") else 100.0)).astype("f4")
    )


def session_of(monkeypatch, name, of):
    if name in NEEDED:
        pytest.importorskip(NEEDED[name], reason=f"{name} runs through {NEEDED[name]}, which is not installed")
    if name not in echoes.KNOWN:
        pytest.skip(f"tests/echoes.py has no stand-in for {name} yet")
    stand_in = echoes.installed(monkeypatch, name, of)
    info = model_info(name)
    options = None if info.options is None else info.options(**OPTIONS.get(name, {}))
    return stand_in.session(device="cpu", seed=0, options=options), stand_in.made


@pytest.mark.parametrize("name", PRETRAINED)
def test_the_image_comes_back_voxel_by_voxel(name, axis_orders, monkeypatch):
    model, _ = session_of(monkeypatch, name, "image")
    kind, count = model_info(name).prompts[0], 0
    for grid in grids(axis_orders):
        image, labels = scene(grid)
        model.set_image(shown(name, image))
        found = model.segment(prompt_from_labels(labels, 1, kind))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found >= 0.5, labels.data == 1, err_msg=f"{grid.affine}")
        count += 1
    assert count == 144


EXPECTED = {"mask": "box", "box": "box", "lasso": "slice", "box2d": "slice", "click": "voxel"}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (name, kind)
        for name in ("nninteractive", "sam", "medsam", "sam2", "medsam2")
        for kind in model_info(name).prompts
        if kind in EXPECTED
    ],
)
def test_the_prompt_comes_back_voxel_by_voxel(name, kind, axis_orders, monkeypatch):
    """A box is the box, a click the clicked voxel, a lasso its slice; video models are shown one slice."""
    model, _ = session_of(monkeypatch, name, "prompt")
    per_slice, video = name in ("sam", "medsam"), name in ("sam2", "medsam2")
    for grid in grids(axis_orders):
        image, labels = scene(grid)
        prompt = prompt_from_labels(labels, 1, kind)
        model.set_image(shown(name, image))
        found = model.segment(prompt) >= 0.5
        inside = labels.data == 1
        expected = EXPECTED[kind]
        if kind == "click" and per_slice:
            # One voxel on each slice of the label.
            assert found.sum() == len(np.unique(np.nonzero(inside)[prompt.axis]))
            assert found[prompt.point]
            assert not (found & ~inside).any()
        elif expected == "voxel":
            assert found.sum() == 1
            assert found[prompt.point]
        elif expected == "box" and not video:
            np.testing.assert_array_equal(found, inside)
        else:
            flat = prompt_from_labels(labels, 1, "lasso")
            wanted = np.zeros_like(inside)
            wanted[tuple(slice(*pair) for pair in flat.box)] = flat.drawn
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["nninteractive", "sam-med3d"])
def test_clicks_land_on_the_same_anatomy(name, axis_orders, monkeypatch):
    """The clicked voxel of the prepared image holds the label's intensity."""
    model, made = session_of(monkeypatch, name, "image")
    for grid in grids(axis_orders):
        image, labels = scene(grid)
        model.set_image(shown(name, image))
        model.segment(prompt_from_labels(labels, 1, "click"))
        if name == "sam-med3d":
            low, high = made.pixels.min(), made.pixels.max()
            assert made.pixels[0, 0][made.clicks[-1]] > 0.5 * (low + high)
        else:
            point, positive = made.clicks[-1]
            assert positive
            assert made.image[point] == made.image.max()


def test_a_label_larger_than_the_window_keeps_its_prior_outside(monkeypatch):
    """SAM-Med3D sees 19 cm; what it has not seen is not taken from the label."""
    model, _ = session_of(monkeypatch, "sam-med3d", "image")
    grid = Grid((24, 90, 24), np.diag([3.0, 3.0, 3.0, 1.0]))
    labels = np.zeros(grid.shape, np.uint8)
    labels[8:16, 2:88, 8:16] = 1
    model.set_image(Volume(labels.astype(np.float32) * 100.0, grid))
    found = model.segment(prompt_from_labels(Volume(labels, grid), 1, "mask"))
    np.testing.assert_array_equal(found >= 0.5, labels == 1)
