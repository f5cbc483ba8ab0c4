from __future__ import annotations

import sys

import matplotlib.image
import numpy as np
import pytest

from atlassegfm.report.qc import MAX_ROWS, STYLES, choose_labels, qc_picture
from atlassegfm.volume import Grid, Volume
from fakes import fake_segmentation


def scene(shape=(40, 36, 24), values=(1, 2), spacing=(2.0, 2.0, 4.0)) -> tuple[Volume, Volume]:
    grid = Grid(shape, np.diag([*spacing, 1.0]))
    labels = np.zeros(shape, np.uint16)
    for n, value in enumerate(values):
        start = 3 + 2 * n % 24
        labels[start : start + 9, 5 + n % 20 : 14 + n % 20, 4:14] = value
    image = np.random.default_rng(0).normal(100, 8, shape).astype(np.float32) + 20 * (labels > 0)
    return Volume(image, grid), Volume(labels, grid)


def test_same_input_same_bytes_and_no_date(tmp_path):
    query, labels = scene()
    result = fake_segmentation(labels, {1: "liver", 2: "spleen"})
    for name in ("a.png", "b.png"):
        qc_picture(tmp_path / name, query, result, name="query")
    first, second = (tmp_path / "a.png").read_bytes(), (tmp_path / "b.png").read_bytes()
    assert first == second
    assert b"Software" not in first
    assert b"date" not in first


def test_pyplot_is_not_used(tmp_path):
    query, labels = scene()
    had_pyplot = "matplotlib.pyplot" in sys.modules
    qc_picture(tmp_path / "a.png", query, fake_segmentation(labels, {1: "liver", 2: "spleen"}))
    assert ("matplotlib.pyplot" in sys.modules) == had_pyplot


def colours_in(path) -> dict[str, int]:
    pixels = (matplotlib.image.imread(path)[..., :3] * 255).round().astype(int)
    counts = {}
    for which, style in STYLES.items():
        rgb = [int(style.colour[i : i + 2], 16) for i in (1, 3, 5)]
        counts[which] = int((np.abs(pixels - rgb).max(axis=-1) < 12).sum())
    return counts


def test_all_three_contours_are_drawn(tmp_path):
    query, labels = scene()
    qc_picture(tmp_path / "a.png", query, fake_segmentation(labels, {1: "liver", 2: "spleen"}))
    assert min(colours_in(tmp_path / "a.png").values()) > 300


def test_without_a_model_there_is_no_model_contour_and_no_legend_for_it(tmp_path):
    query, labels = scene()
    qc_picture(tmp_path / "a.png", query, fake_segmentation(labels, {1: "liver", 2: "spleen"}, with_model=False))
    found = colours_in(tmp_path / "a.png")
    assert found["model"] == 0
    assert found["final"] > 300


def test_empty_label_gets_a_row(tmp_path):
    query, labels = scene()
    qc_picture(tmp_path / "two.png", query, fake_segmentation(labels, {1: "liver", 2: "spleen"}))
    qc_picture(tmp_path / "three.png", query, fake_segmentation(labels, {1: "liver", 2: "spleen", 9: "not there"}))
    two, three = (matplotlib.image.imread(tmp_path / f"{n}.png").shape for n in ("two", "three"))
    assert three[0] > two[0]
    assert three[1] == two[1]


def test_nothing_found_at_all(tmp_path):
    query, labels = scene(values=())
    qc_picture(tmp_path / "a.png", query, fake_segmentation(labels, {1: "liver"}))
    assert (tmp_path / "a.png").stat().st_size > 1000


def test_many_labels_are_limited_to_the_most_doubtful():
    facts = [
        {"value": v, "name": f"n{v}", "volume_ml": float(v), "quality": {"score": 0.1 if v in (5, 90) else 0.8}}
        for v in range(1, 138)
    ]
    shown = [fact["value"] for fact in choose_labels(facts)]
    assert len(shown) == MAX_ROWS
    assert shown == sorted(shown)
    assert {5, 90} <= set(shown)
    assert {137, 136} <= set(shown)  # among equals the largest


def test_many_labels_draw(tmp_path):
    values = tuple(range(1, 16))
    query, labels = scene(values=values)
    qc_picture(tmp_path / "a.png", query, fake_segmentation(labels, {v: f"organ {v}" for v in values}))
    height = matplotlib.image.imread(tmp_path / "a.png").shape[0]
    assert height < 5200


@pytest.mark.parametrize("shape", [(3, 40, 30), (40, 36, 2), (200, 12, 9)])
def test_thin_volumes(tmp_path, shape):
    grid = Grid(shape, np.diag([1.0, 1.0, 8.0, 1.0]))
    labels = np.zeros(shape, np.uint8)
    labels[1, 3:8, 1] = 4
    image = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    qc_picture(tmp_path / "a.png", Volume(image, grid), fake_segmentation(Volume(labels, grid), {4: "thin"}))


def test_names_with_formulas_and_foreign_scripts(tmp_path, recwarn):
    query, labels = scene()
    names = {1: "liver $x_1$ [bold]", 2: "脾臓 селезёнка"}
    qc_picture(tmp_path / "a.png", query, fake_segmentation(labels, names), name="50% $odd name")
    assert not [w for w in recwarn if "Glyph" in str(w.message)]
