"""Pictures of truth against result."""

import io

import numpy as np
from PIL import Image

from atlassegfm.report.worst import comparison_picture
from atlassegfm.volume import Grid, Volume


def picture(truth, found, affine=None):
    grid = Grid((40, 36, 20), np.diag([1.0, 1.0, 2.5, 1.0]) if affine is None else affine)
    image = np.random.default_rng(0).normal(100, 5, grid.shape).astype(np.float32)
    masks = []
    for box in (truth, found):
        mask = np.zeros(grid.shape, bool)
        if box:
            mask[tuple(slice(*b) for b in box)] = True
        masks.append(mask)
    return np.asarray(Image.open(io.BytesIO(comparison_picture(Volume(image, grid), *masks))).convert("RGB")).astype(
        int
    )


def yellow(rgb):
    return ((rgb[..., 0] > 180) & (rgb[..., 1] > 180) & (rgb[..., 2] < 130)).sum()


def blue(rgb):
    return ((rgb[..., 2] - rgb[..., 0]) > 80).sum()


BOX = ((10, 22), (8, 20), (5, 12))


def test_both_contours_are_drawn_in_three_square_panes():
    rgb = picture(BOX, ((12, 25), (10, 22), (6, 13)))
    assert rgb.shape == (240, 720, 3)
    for n in range(3):
        pane = rgb[:, 240 * n : 240 * (n + 1)]
        assert yellow(pane) > 50
        assert blue(pane) > 50


def test_a_lost_label_shows_the_truth_and_a_false_one_the_result():
    assert yellow(picture(BOX, None)) > 50 > blue(picture(BOX, None))
    assert blue(picture(None, BOX)) > 50 > yellow(picture(None, BOX))


def test_a_stray_result_is_inside_the_window():
    # The planes are those of the truth; the axial one at k = 8 also cuts this result far off.
    stray = picture(BOX, ((30, 39), (28, 35), (6, 12)))
    assert yellow(stray[:, :240]) > 50
    assert blue(stray[:, :240]) > 50


def test_axis_order_and_tilt_do_not_matter():
    tilted = np.array([[0.0, 0.2, 2.4, -5], [-1.0, 0, 0.1, 9], [0, 1.0, 0, 3], [0, 0, 0, 1]])
    rgb = picture(BOX, BOX, tilted)
    assert rgb.shape == (240, 720, 3)
    assert yellow(rgb) + blue(rgb) > 50
