"""Figures of the evaluation report as SVG text: box plots, and quality against time."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

#: Colours by Okabe and Ito (2008), told apart by colour-blind readers; yellow is left out, it fades on white.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#5C5C5C")
#: Shapes of points: the first for the first round of the palette, the second for the next.
MARKERS = "os^DvP"
_INK, _FAINT = "#1a1a1a", "#6b6b6b"
_SMALL = 8.5
#: Where the name of a point may stand, in points right of and above it, the best place first.
_PLACES = tuple((side * right, up) for right, up in ((9, 0), (9, 9), (9, -9), (16, 20), (16, -20), (24, 34), (24, -34))
                for side in (1, -1))  # fmt: skip


def colour(position: int) -> str:
    """Colour of the n-th method; all beyond the palette share grey, they are told apart by their names."""
    return COLOURS[min(position, len(COLOURS) - 1)]


def box_plot(values: Mapping[str, Sequence[float]], title: str, *, seed: int = 0) -> str:
    """One horizontal box per method with every case as a point.

    Parameters
    ----------
    values : mapping of str to sequence of float
        Method to its values; NaN is left out.
    title : str
        Axis title with the unit.
    seed : int
        Of the points' vertical spread.
    """
    names = list(values)
    figure = Figure(figsize=(7.6, 0.85 + 0.42 * len(names)))
    axes = figure.add_subplot()
    rng = np.random.default_rng(seed)
    for row, name in enumerate(names):
        data = _known(values[name])
        if not data.size:
            continue
        _box(axes, data, row, 0.5, colour(row))
        spread = rng.uniform(-0.14, 0.14, data.size)
        axes.plot(data, row + spread, "o", ms=4.2, color=colour(row), alpha=0.9, mec="white", mew=0.6, zorder=3)
    _finish_rows(axes, names, title)
    return _svg(figure, title)


def grouped_box_plot(values: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> str:
    """Boxes per label, in it one per method.

    Parameters
    ----------
    values : mapping
        Label to method to values.
    title : str
        Axis title with the unit.
    """
    labels = list(values)
    methods = list(next(iter(values.values())))
    height = 0.8 / len(methods)
    figure = Figure(figsize=(7.6, 1.1 + (0.16 * len(methods) + 0.2) * len(labels)))
    axes = figure.add_subplot()
    for row, label in enumerate(labels):
        for n, method in enumerate(methods):
            data = _known(values[label].get(method, ()))
            if data.size:
                place = row - 0.4 + (n + 0.5) * height
                _box(axes, data, place, 0.8 * height, colour(n))
                axes.plot(data, np.full(data.size, place), "o", ms=2.6, color=colour(n), mew=0, zorder=3)
    handles = [mpl.patches.Patch(facecolor=colour(n), alpha=0.55, label=m) for n, m in enumerate(methods)]
    _finish_rows(axes, labels, title)
    _legend(figure, handles)
    return _svg(figure, f"{title} per label")


def time_plot(points: Mapping[str, tuple[float, float, float, float]], title: str) -> str:
    """Quality against time.

    Parameters
    ----------
    points : mapping of str to (seconds, mean, low, high)
        One point per method; time on a logarithmic axis, the interval as a bar.
    title : str
        Title of the vertical axis.
    """
    figure = Figure(figsize=(7.6, 4.2))
    axes = figure.add_subplot()
    dots = []
    for n, (name, (seconds, mean, low, high)) in enumerate(points.items()):
        tint, marker = COLOURS[n % len(COLOURS)], MARKERS[n // len(COLOURS) % len(MARKERS)]
        axes.plot([seconds, seconds], [low, high], color=tint, lw=1.6, alpha=0.6)
        dots += axes.plot([seconds], [mean], marker, ms=7, color=tint, label=name)
    axes.set_xscale("log")
    times = [p[0] for p in points.values()]
    # Room for the names on the right, and at least half a decade so that ticks stay readable.
    axes.set_xlim(min(times) / 1.6, max(max(times) * 3.0, min(times) * 4.0))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.xaxis.set_minor_formatter(FuncFormatter(lambda x, _: f"{x:g}" if str(f"{x:e}")[0] in "25" else ""))
    axes.set_xlabel("seconds per pair (logarithmic)", color=_INK, fontsize=9)
    axes.set_ylabel(title, color=_INK, fontsize=9)
    axes.grid(color="#e4e4e4", lw=0.8)
    _finish(axes)
    if not _name_points(axes, points):
        _legend(figure, dots)
    return _svg(figure, f"{title} against time")


def _legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Names above the axes, in as many columns as the longest leaves room for."""
    names = [_shortened(str(h.get_label())) for h in handles]
    most = max(1, min(4, int(7.2 / (0.55 + 0.075 * max(map(len, names))))))
    rows = -(-len(names) // most)
    # Rows of the same length look better than a full one and a rest.
    columns = -(-len(names) // rows)
    figure.legend(handles, names, loc="upper center", ncols=columns, frameon=False, fontsize=_SMALL)
    figure.set_figheight(figure.get_figheight() + 0.22 * (rows - 1))
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - (0.12 + 0.22 * rows) / figure.get_figheight()))


def _name_points(axes: Axes, points: Mapping[str, tuple[float, float, float, float]]) -> bool:
    """Write each point's name beside it, in the nearest place where it covers little else.

    Returns
    -------
    bool
        False, and nothing is written, when a name could not but cover a point or another name.
    """
    axes.figure.draw_without_rendering()  # fixes the scales: from here on places in pixels are final
    unit = axes.figure.dpi / 72
    centres = [axes.transData.transform(p[:2]) for p in points.values()]
    solid = [Bbox.from_bounds(x - 5 * unit, y - 5 * unit, 10 * unit, 10 * unit) for x, y in centres]
    bars = [axes.transData.transform_bbox(Bbox([[s, low], [s, high]])) for s, _, low, high in points.values()]
    chosen = []
    for name, (x, y) in zip(points, centres, strict=True):
        width, height = _size(axes, _shortened(name))
        boxes = [
            Bbox.from_bounds(x + right * unit - width * (right < 0), y + up * unit - height / 2, width, height)
            for right, up in _PLACES
        ]
        covered = [
            9 * box.count_overlaps(solid) + box.count_overlaps(bars) + 99 * (not _within(box, axes.bbox))
            for box in boxes
        ]
        best = covered.index(min(covered))
        if boxes[best].count_overlaps(solid) or not _within(boxes[best], axes.bbox):
            return False
        solid.append(boxes[best])
        chosen.append(_PLACES[best])
    for (name, point), (right, up) in zip(points.items(), chosen, strict=True):
        line = {"arrowstyle": "-", "color": _FAINT, "lw": 0.6, "shrinkA": 1, "shrinkB": 4, "relpos": (right < 0, 0.5)}
        axes.annotate(
            _shortened(name), point[:2], (right, up), textcoords="offset points", fontsize=9, color=_INK, va="center",
            ha="left" if right > 0 else "right", arrowprops=line if abs(up) > 10 else None,
        )  # fmt: skip
    return True


def _size(axes: Axes, name: str) -> tuple[float, float]:
    """Width and height of a name in pixels."""
    text = axes.text(0.5, 0.5, name, fontsize=9, transform=axes.transAxes)
    extent = text.get_window_extent()
    text.remove()
    return extent.width, extent.height


def _within(inner: Bbox, outer: Bbox) -> bool:
    return outer.x0 <= inner.x0 and inner.x1 <= outer.x1 and outer.y0 <= inner.y0 and inner.y1 <= outer.y1


def _known(values: Sequence[float]) -> np.ndarray:
    array = np.asarray(list(values), dtype=np.float64)
    return array[np.isfinite(array)]


def _box(axes: Axes, data: np.ndarray, position: float, width: float, tint: str) -> None:
    axes.boxplot(
        [data],
        positions=[position],
        widths=width,
        orientation="horizontal",
        patch_artist=True,
        showfliers=False,
        manage_ticks=False,
        boxprops={"facecolor": tint, "alpha": 0.28, "edgecolor": tint},
        medianprops={"color": _INK, "linewidth": 1.4},
        whiskerprops={"color": tint},
        capprops={"color": tint},
    )


def _finish_rows(axes: Axes, names: Sequence[str], title: str) -> None:
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_yticks(range(len(names)), [_shortened(n) for n in names])
    axes.set_xlabel(title, color=_INK, fontsize=9)
    axes.grid(axis="x", color="#e4e4e4", lw=0.8)
    _finish(axes)


def _shortened(name: str, most: int = 34) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _finish(axes: Axes) -> None:
    axes.set_axisbelow(True)
    axes.tick_params(which="both", colors=_INK, labelsize=_SMALL, length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_FAINT)
    axes.figure.set_layout_engine("tight")


def _svg(figure: Figure, salt: str) -> str:
    """SVG element without prologue; the salt keeps the ids of several figures on one page apart."""
    text = io.StringIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": salt, "font.family": "sans-serif"}):
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :]
    # A size in points would not shrink on a narrow screen; the view box is enough.
    head, rest = svg.split(">", 1)
    return re.sub(r' (width|height)="[^"]*"', "", head) + ">" + rest
