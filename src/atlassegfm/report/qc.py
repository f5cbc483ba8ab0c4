"""The QC picture: per label three planes with the contours of atlas, model and final result."""

from __future__ import annotations

import textwrap
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from atlassegfm.report.facts import label_facts, predicted
from atlassegfm.report.planes import Anatomical, View, choose_views, grey_window, picture, scale_bar_mm
from atlassegfm.volume import Volume

if TYPE_CHECKING:
    from atlassegfm.segmentation import Segmentation

#: More labels than this make the picture unreadable; the most doubtful ones are shown.
MAX_ROWS = 12
#: A result smaller than this part of the atlas's label says little about where the organ is; the atlas's does.
REMNANT = 0.25
#: Beyond this tilt a plane is called near-axial and so on.
OBLIQUE_DEGREES = 10.0

# Inches.
_WIDTH, _TEXT, _PANE, _GAP, _MARGIN = 12.6, 2.75, 3.05, 0.12, 0.2
_HEADER, _ROW_TITLE, _FOOTER = 1.05, 0.3, 0.15
_DPI = 110
_FONT = "DejaVu Sans"
_INK, _FAINT, _ALARM = "#1a1a1a", "#5c5c5c", "#B22222"


@dataclass(frozen=True)
class ContourStyle:
    """How one of the three results is drawn."""

    caption: str
    colour: str
    dashes: Any
    width: float


#: Colours by Okabe and Ito (2008), apart in hue and in lightness; the line styles tell the same without colour.
STYLES = {
    "final": ContourStyle("final result", "#F0E442", "solid", 1.9),
    "atlas": ContourStyle("atlas (registration alone)", "#56B4E9", (0, (5, 2.5)), 1.3),
    "model": ContourStyle("model alone", "#D55E00", (0, (1.2, 1.6)), 1.5),
}


def qc_picture(path: str | Path, query: Volume, segmentation: Segmentation, *, name: str | None = None) -> None:
    """Draw the QC picture as PNG; the same input gives the same bytes.

    Parameters
    ----------
    path : str or Path
        Where to write; the caller sees to a temporary name.
    query : Volume
        The image that was segmented.
    segmentation : Segmentation
        Its result, on the same grid.
    name : str, optional
        What to call the query in the title; default: the file name without ``_qc.png``.
    """
    anatomical = Anatomical.of(query.grid)
    facts = label_facts(segmentation)
    shown = choose_labels(facts)
    row_height = _PANE + _ROW_TITLE + _GAP
    height = _HEADER + row_height * max(1, len(shown)) + _FOOTER
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, facecolor="white")
    page = _Page(figure, height)
    title = name if name is not None else Path(path).stem.removesuffix("_qc")
    _draw_header(page, title, query, anatomical, segmentation, (len(shown), len(facts)))
    image = anatomical.reorder(query.data)
    maps = {"final": segmentation.labels, "atlas": segmentation.atlas_labels, "model": segmentation.model_labels}
    maps = {which: anatomical.reorder(v.data) for which, v in maps.items() if v is not None}
    for row, fact in enumerate(shown):
        top = height - _HEADER - row * row_height
        masks = {which: data == fact["value"] for which, data in maps.items()}
        _draw_row(page, top, fact, image, masks, anatomical, segmentation.colours.get(fact["value"]))
    with warnings.catch_warnings():
        # A label name in a script that the bundled font lacks is drawn as boxes; no reason to alarm anybody.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(path, format="png", metadata={"Software": None})


def choose_labels(facts: list[dict[str, Any]], limit: int = MAX_ROWS) -> list[dict[str, Any]]:
    """The labels to show: all, or the most doubtful `limit` and among equals the largest, in order of the values."""
    return sorted(sorted(facts, key=_doubt_first)[:limit], key=lambda fact: fact["value"])


def _doubt_first(fact: dict[str, Any]) -> tuple[float, float, int]:
    score = fact["quality"].get("score")
    return (1.0 if score is None else float(score), -float(fact["volume_ml"]), fact["value"])


def doubtful_box(facts: list[dict[str, Any]]) -> tuple[int, int, int, int]:
    """Where a QC picture shows its most doubtful label: left, top, right and bottom in pixels, without the text.

    Parameters
    ----------
    facts : list of dict
        Of `label_facts`, as for the picture.
    """
    shown = choose_labels(facts)
    row = min(range(len(shown)), key=lambda n: _doubt_first(shown[n]), default=0)
    left, top = _MARGIN + _TEXT, _HEADER + row * (_PANE + _ROW_TITLE + _GAP) + _ROW_TITLE
    box = (left, top, left + 3 * _PANE + 2 * _GAP, top + _PANE)
    return tuple(round(inches * _DPI) for inches in box)


@dataclass(frozen=True)
class _Page:
    """The figure, addressed in inches from its left and bottom edge."""

    figure: Figure
    height: float

    def text(self, x: float, y: float, words: str, *, size: float = 9, ink: str = _INK, bold: bool = False) -> None:
        """One line of text whose top is at `y`; names may hold any character, so no formula is parsed."""
        weight = "bold" if bold else "normal"
        at = (x / _WIDTH, y / self.height)
        self.figure.text(*at, words, fontsize=size, color=ink, weight=weight, va="top", family=_FONT, parse_math=False)

    def pane(self, left: float, top: float) -> Axes:
        """Square axes for one picture."""
        box = (left / _WIDTH, (top - _PANE) / self.height, _PANE / _WIDTH, _PANE / self.height)
        return self.figure.add_axes(box, facecolor="black")


def _shorten(words: str, limit: int) -> str:
    return words if len(words) <= limit else words[: limit - 3] + "..."


def _draw_header(
    page: _Page,
    title: str,
    query: Volume,
    anatomical: Anatomical,
    segmentation: Segmentation,
    counts: tuple[int, int],
) -> None:
    top = page.height - 0.17
    page.text(_MARGIN, top, _shorten(title, 60), size=14, bold=True)
    grid = query.grid
    size = f"{' x '.join(map(str, grid.shape))} voxels of {' x '.join(f'{s:.2f}' for s in grid.spacing)} mm"
    lines = "Radiological convention: the patient's right is on the left of the axial and coronal planes."
    page.text(_MARGIN, top - 0.32, lines, ink=_FAINT)
    tilt = anatomical.tilt_degrees
    oblique = f"; oblique grid, shown along its own axes, {tilt:.0f}\u00b0 off the anatomical ones" if tilt > 1 else ""
    some = f"; {counts[0]} of {counts[1]} labels shown, the most doubtful" if counts[0] < counts[1] else ""
    page.text(_MARGIN, top - 0.52, size + oblique + some, ink=_FAINT)
    present = [which for which in STYLES if which != "model" or segmentation.model_labels is not None]
    handles = []
    for which in present:
        style = STYLES[which]
        line = Line2D([], [], color=style.colour, linestyle=style.dashes, linewidth=style.width + 0.6)
        handles.append((line, style.caption))
    legend = page.figure.legend(
        *zip(*handles, strict=True),
        loc="upper right",
        bbox_to_anchor=(1 - _MARGIN / _WIDTH, 1 - 0.12 / page.height),
        prop={"family": _FONT, "size": 9},
        facecolor="#303030",
        edgecolor="none",
        labelcolor="white",
        handlelength=3.2,
        framealpha=1.0,
    )
    legend.set_zorder(5)


def _draw_row(
    page: _Page,
    top: float,
    fact: dict[str, Any],
    image: np.ndarray,
    masks: dict[str, np.ndarray],
    anatomical: Anatomical,
    colour: tuple[int, int, int] | None,
) -> None:
    rule = Line2D([_MARGIN / _WIDTH, 1 - _MARGIN / _WIDTH], [top / page.height] * 2, color="#c8c8c8", linewidth=0.8)
    page.figure.add_artist(rule)
    where = _where_to_look(masks)
    found = bool(masks["final"].any())
    window = grey_window(image, where, anatomical.spacing) if where is not None else None
    _draw_label_text(page, top, fact, colour, found, window)
    if where is None:
        page.text(_MARGIN + _TEXT, top - 1.5, "Neither the atlas nor the model has a voxel of this label.")
        return
    for column, view in enumerate(choose_views(where, anatomical.spacing, masks["atlas"])):
        left = _MARGIN + _TEXT + column * (_PANE + _GAP)
        _draw_pane(page.pane(left, top - _ROW_TITLE), view, image, masks, anatomical, window)
        near = "near-" if anatomical.tilt_degrees > OBLIQUE_DEGREES else ""
        caption = f"{near}{view.plane.name}, {anatomical.position(view.plane.normal, view.index)}"
        page.text(left, top - 0.09, caption, size=8.5, ink=_FAINT)


def _where_to_look(masks: dict[str, np.ndarray]) -> np.ndarray | None:
    """The mask whose largest extent is shown: the final one, unless (nearly) nothing is left of it."""
    count = {which: int(np.count_nonzero(mask)) for which, mask in masks.items()}
    if count["final"] and count["final"] >= REMNANT * count["atlas"]:
        return masks["final"]
    return next((masks[which] for which in ("atlas", "final", "model") if count.get(which)), None)


def _draw_label_text(
    page: _Page,
    top: float,
    fact: dict[str, Any],
    colour: tuple[int, int, int] | None,
    found: bool,
    window: tuple[float, float] | None,
) -> None:
    y = top - 0.36
    if colour is not None:
        swatch = (_MARGIN / _WIDTH, (y - 0.18) / page.height)
        rgb = tuple(c / 255.0 for c in colour)
        size = (0.17 / _WIDTH, 0.17 / page.height)
        page.figure.add_artist(Rectangle(swatch, *size, facecolor=rgb, edgecolor=_FAINT, lw=0.5))
    for line in textwrap.wrap(_shorten(str(fact["name"]), 62), 22)[:3] or [""]:
        page.text(_MARGIN + 0.27, y, line, size=12, bold=True)
        y -= 0.23
    y -= 0.04
    volume = float(fact["volume_ml"])
    amount = f"{volume:.1f} ml" if volume >= 1 else f"{volume * 1000:.0f} mm\u00b3"
    lines = [(f"label {fact['value']}", _FAINT, False), (amount, _INK, False)]
    quality = fact["quality"]
    if not found:
        lines.append(("not found", _ALARM, True))
    elif quality.get("word"):
        lines.append((f"quality: {quality['word']}", _INK, True))
        if predicted(quality):
            lines.append((f"Dice about {predicted(quality)}", _FAINT, False))
    for reason in quality.get("reasons", [])[:3]:
        unbroken = str(reason).replace(" %", "\u00a0%")
        lines += [(line, _FAINT, False) for line in textwrap.wrap(unbroken, 34)[:3]]
    if window is not None:
        lines.append((f"window {window[0]:.4g} to {window[1]:.4g}", _FAINT, False))
    for words, ink, bold in lines:
        page.text(_MARGIN, y, words, ink=ink, bold=bold, size=9 if ink == _FAINT else 10)
        y -= 0.2


def _draw_pane(
    axes: Axes,
    view: View,
    image: np.ndarray,
    masks: dict[str, np.ndarray],
    anatomical: Anatomical,
    window: tuple[float, float],
) -> None:
    plane = view.plane
    step = (float(anatomical.spacing[plane.across]), float(anatomical.spacing[plane.down]))
    pixels = picture(image, plane, view.index)
    extent = (0.0, pixels.shape[1] * step[0], pixels.shape[0] * step[1], 0.0)
    axes.imshow(
        pixels, cmap="gray", vmin=window[0], vmax=window[1], extent=extent, interpolation="bilinear", aspect="equal"
    )
    # The broad solid line lies below the dashed ones, so that lines in the same place all stay visible.
    for which, style in STYLES.items():
        if which in masks:
            _draw_contour(axes, picture(masks[which], plane, view.index), step, style)
    half = view.side_mm / 2.0
    axes.set_xlim(view.centre_mm[0] - half, view.centre_mm[0] + half)
    axes.set_ylim(view.centre_mm[1] + half, view.centre_mm[1] - half)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
    _draw_marks(axes, view)


def _draw_contour(axes: Axes, mask: np.ndarray, step: tuple[float, float], style: ContourStyle) -> None:
    if not mask.any():
        return
    padded = np.pad(mask, 1).astype(np.float32)  # closes the contour at the border of the scan
    x = (np.arange(padded.shape[1]) - 0.5) * step[0]
    y = (np.arange(padded.shape[0]) - 0.5) * step[1]
    lines = axes.contour(x, y, padded, [0.5], colors=[style.colour], linestyles=[style.dashes], linewidths=style.width)
    if style.dashes == "solid":
        lines.set_path_effects([withStroke(linewidth=style.width + 1.2, foreground="black")])


def _draw_marks(axes: Axes, view: View) -> None:
    """Direction letters at the edges and a scale bar."""
    outline = [withStroke(linewidth=2.0, foreground="black")]
    style = {"transform": axes.transAxes, "color": "white", "fontsize": 9.5, "family": _FONT, "path_effects": outline}
    places = ((0.015, 0.5, "left", "center"), (0.985, 0.5, "right", "center"),
              (0.5, 0.985, "center", "top"), (0.5, 0.015, "center", "bottom"))  # fmt: skip
    for letter, (x, y, horizontal, vertical) in zip(view.plane.letters, places, strict=True):
        axes.text(x, y, letter, ha=horizontal, va=vertical, weight="bold", **style)
    length = scale_bar_mm(view.side_mm)
    share = length / view.side_mm
    bar = Line2D([0.97 - share, 0.97], [0.045, 0.045], transform=axes.transAxes, color="white", linewidth=2.2)
    bar.set_path_effects([withStroke(linewidth=3.6, foreground="black")])
    axes.add_line(bar)
    axes.text(0.97 - share / 2, 0.06, f"{length} mm", ha="center", va="bottom", **{**style, "fontsize": 7.5})
