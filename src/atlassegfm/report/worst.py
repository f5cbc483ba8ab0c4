"""Pictures of single results against the truth, for the worst cases of an evaluation."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke

from atlassegfm.report.planes import Anatomical, View, choose_views, grey_window, picture, scale_bar_mm
from atlassegfm.volume import Volume

#: Contours of truth and prediction: apart in colour, in lightness and in line style.
TRUTH, PREDICTION = ("#F0E442", "solid"), ("#56B4E9", (0, (4, 2)))
_PANE_INCHES, _DPI = 2.5, 96


def comparison_picture(query: Volume, truth: np.ndarray, prediction: np.ndarray) -> bytes:
    """PNG with axial, coronal and sagittal planes through one label.

    Parameters
    ----------
    query : Volume
        The image.
    truth, prediction : numpy.ndarray of bool, shape of the query
        The label in both maps; at least one voxel between them.
    """
    anatomical = Anatomical.of(query.grid)
    image = anatomical.reorder(query.data)
    masks = {TRUTH: anatomical.reorder(truth), PREDICTION: anatomical.reorder(prediction)}
    where = masks[TRUTH] if masks[TRUTH].any() else masks[PREDICTION]
    window = grey_window(image, where, anatomical.spacing)
    # The window must also show a prediction that went astray.
    union = masks[TRUTH] | masks[PREDICTION]
    views = _with_window_of(choose_views(where, anatomical.spacing), choose_views(union, anatomical.spacing))
    figure = Figure(figsize=(3 * _PANE_INCHES, _PANE_INCHES), dpi=_DPI, facecolor="black")
    for n, view in enumerate(views):
        _pane(figure.add_axes((n / 3, 0, 1 / 3, 1)), view, image, masks, anatomical, window)
    # Without a line between the panes the letters at their edges would read as one word.
    for share in (1 / 3, 2 / 3):
        figure.add_artist(Line2D([share, share], [0, 1], color="#777777", lw=1))
    png = io.BytesIO()
    figure.savefig(png, format="png", metadata={"Software": None}, facecolor="black")
    return png.getvalue()


def _with_window_of(views: list[View], wide: list[View]) -> list[View]:
    return [View(v.plane, v.index, w.centre_mm, w.side_mm) for v, w in zip(views, wide, strict=True)]


def _pane(
    axes: Axes,
    view: View,
    image: np.ndarray,
    masks: dict[tuple, np.ndarray],
    anatomical: Anatomical,
    window: tuple[float, float],
) -> None:
    plane = view.plane
    across, down = float(anatomical.spacing[plane.across]), float(anatomical.spacing[plane.down])
    pixels = picture(image, plane, view.index)
    extent = (0.0, pixels.shape[1] * across, pixels.shape[0] * down, 0.0)
    axes.imshow(pixels, cmap="gray", vmin=window[0], vmax=window[1], extent=extent, interpolation="bilinear")
    for (tint, style), mask in masks.items():
        cut = np.pad(picture(mask, plane, view.index), 1).astype(np.float32)
        if cut.any():
            x, y = (np.arange(cut.shape[1]) - 0.5) * across, (np.arange(cut.shape[0]) - 0.5) * down
            axes.contour(x, y, cut, [0.5], colors=[tint], linestyles=[style], linewidths=1.4)
    half = view.side_mm / 2
    axes.set_xlim(view.centre_mm[0] - half, view.centre_mm[0] + half)
    axes.set_ylim(view.centre_mm[1] + half, view.centre_mm[1] - half)
    axes.set_axis_off()
    words = {
        "transform": axes.transAxes,
        "color": "white",
        "path_effects": [withStroke(linewidth=2, foreground="black")],
    }
    places = ((0.02, 0.5, "left", "center"), (0.98, 0.5, "right", "center"),
              (0.5, 0.98, "center", "top"), (0.5, 0.02, "center", "bottom"))  # fmt: skip
    for letter, (x, y, ha, va) in zip(plane.letters, places, strict=True):
        axes.text(x, y, letter, fontsize=8, ha=ha, va=va, **words)
    length = scale_bar_mm(view.side_mm)
    share = length / view.side_mm
    axes.plot([0.97 - share, 0.97], [0.06, 0.06], lw=2, **words)
    axes.text(0.97 - share / 2, 0.075, f"{length} mm", fontsize=6.5, ha="center", va="bottom", **words)
