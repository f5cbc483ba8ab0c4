"""Figures of the evaluation report: well-formed SVG that holds what it was given."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from atlassegfm.report.figures import _name_points, box_plot, grouped_box_plot, time_plot

RNG = np.random.default_rng(0)


def texts(svg):
    root = ET.fromstring(svg)
    assert root.tag.endswith("svg")
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib
    return {"".join(t.itertext()).strip() for t in root.iter() if t.tag.endswith("text")}


def test_box_plot_names_its_rows_and_survives_odd_values():
    svg = box_plot({"a & <b>": RNG.random(9), "empty": [float("nan")], "one": [0.5]}, "Dice")
    assert {"a & <b>", "empty", "one", "Dice"} <= texts(svg)


def test_grouped_box_plot_has_labels_and_methods():
    values = {"liver": {"m1": RNG.random(5), "m2": RNG.random(5)}, "spleen": {"m1": RNG.random(5), "m2": []}}
    assert {"liver", "spleen", "m1", "m2", "Dice"} <= texts(grouped_box_plot(values, "Dice"))


@pytest.mark.parametrize("seconds", [[0.01, 900.0], [12.0], [3.0, 3.0, 3.1]])
def test_time_plot_for_any_range_of_times(seconds):
    found = texts(time_plot({f"m{n}": (s, 0.7, 0.6, 0.8) for n, s in enumerate(seconds)}, "Dice"))
    assert {f"m{n}" for n in range(len(seconds))} <= found


def test_names_of_points_in_one_place_cover_neither_each_other_nor_a_point():
    points = {f"method {n}": (10.0 + 0.1 * n, 0.8, 0.7, 0.9) for n in range(6)} | {"fast": (1.0, 0.8, 0.7, 0.9)}
    figure = Figure(figsize=(7.6, 4.2))
    axes = figure.add_subplot(xscale="log", xlim=(0.5, 40), ylim=(0.6, 1.0))
    assert _name_points(axes, points)
    figure.draw_without_rendering()
    names = [Text.get_window_extent(t) for t in axes.texts]
    assert [t.get_text() for t in axes.texts] == list(points)
    for n, box in enumerate(names):
        assert not box.count_overlaps(names[:n])
        for seconds, mean, _, _ in points.values():
            assert not box.contains(*axes.transData.transform((seconds, mean)))


def test_names_without_room_become_a_legend_that_tells_all_points_apart():
    points = {f"a method with a rather long name {n}": (10.0, 0.8, 0.8, 0.8) for n in range(16)}
    figure = Figure(figsize=(7.6, 4.2))
    axes = figure.add_subplot(xscale="log", xlim=(5, 40), ylim=(0.79, 0.81))
    assert not _name_points(axes, points)
    assert not axes.texts
    svg = time_plot(points, "Dice")
    assert {f"a method with a rather long name {n}"[:33] for n in range(16)} <= {t.rstrip("…")[:33] for t in texts(svg)}
    root = ET.fromstring(svg)
    drawn = {
        (e.attrib["{http://www.w3.org/1999/xlink}href"], e.attrib["style"])
        for e in root.iter()
        if e.tag.endswith("use")
    }
    assert len({style for _, style in drawn}) >= 7
    assert len({shape for shape, style in drawn if "#0072b2" in style}) == 3  # rounds of the palette differ in shape


def test_every_case_of_a_grouped_box_plot_is_a_point():
    svg = grouped_box_plot({"liver": {"a": [0.1, 0.2, 0.9], "b": [0.3]}}, "Dice")
    for tint, count in (("#0072b2", 3), ("#e69f00", 1)):
        markers = [e.attrib["style"] for e in ET.fromstring(svg).iter() if e.tag.endswith("use")]
        assert sum(f"fill: {tint}" in style for style in markers) == count


def test_every_case_of_a_box_plot_is_a_point():
    svg = box_plot({"a": [0.1, 0.2, 0.4], "b": [0.3]}, "Dice")
    for tint, count in (("#0072b2", 3), ("#e69f00", 1)):
        markers = [e.attrib["style"] for e in ET.fromstring(svg).iter() if e.tag.endswith("use")]
        assert sum(f"fill: {tint}" in style for style in markers) == count


def test_same_input_same_bytes_and_ids_of_two_figures_differ():
    values = {"a": [0.1, 0.2, 0.4], "b": [0.3, 0.3, 0.9]}
    assert box_plot(values, "Dice") == box_plot(values, "Dice")

    def ids(svg):
        return {e.attrib["id"] for e in ET.fromstring(svg).iter() if "id" in e.attrib and "clip" in e.tag.lower()}

    assert not ids(box_plot(values, "Dice")) & ids(box_plot(values, "HD95"))
