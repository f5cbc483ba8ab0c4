import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from atlassegfm.errors import InputError
from atlassegfm.prompts import KINDS, central_voxel, largest_component, make_prompt, slice_axis
from atlassegfm.volume import Grid

SHAPES = st.tuples(*[st.integers(2, 9)] * 3)
MASKS = hnp.arrays(np.bool_, SHAPES, elements=st.booleans()).filter(lambda m: m.any())
SPACINGS = st.tuples(*[st.sampled_from([0.5, 1.0, 1.25, 3.0, 7.7])] * 3)


def grid_of(shape, spacing=(1.0, 1.0, 1.0)):
    return Grid(shape, np.diag([*spacing, 1.0]))


def prompt_of(kind, mask, spacing=(1.0, 1.0, 1.0), **kw):
    return make_prompt(kind, mask.astype(np.float32), grid_of(mask.shape, spacing), 4, **kw)


def box_slices(box):
    return tuple(slice(*b) for b in box)


@given(MASKS, SPACINGS)
def test_click_is_the_voxel_of_the_largest_component_nearest_its_centre(mask, spacing):
    prompt = prompt_of("click", mask, spacing)
    parts, count = ndimage.label(mask, np.ones((3, 3, 3)))
    sizes = ndimage.sum_labels(mask, parts, np.arange(1, count + 1))
    part = parts[prompt.point]
    assert part > 0
    assert sizes[part - 1] == sizes.max()
    voxels = np.argwhere(parts == part)
    distance = np.linalg.norm((voxels - voxels.mean(axis=0)) * spacing, axis=1)
    own = np.linalg.norm((np.array(prompt.point) - voxels.mean(axis=0)) * spacing)
    assert own == pytest.approx(distance.min(), abs=1e-5)
    assert prompt.slice_index == prompt.point[prompt.axis]


@given(MASKS)
def test_box_is_tight(mask):
    box = box_slices(prompt_of("box", mask).box)
    assert mask[box].sum() == mask.sum()
    inside = mask[box]
    for axis in range(3):
        assert inside.take(0, axis).any()
        assert inside.take(-1, axis).any()


@given(MASKS, SPACINGS)
def test_flat_box_is_tight_on_its_slice(mask, spacing):
    prompt = prompt_of("box2d", mask, spacing)
    assert prompt.axis == slice_axis(grid_of(mask.shape, spacing))
    assert prompt.box[prompt.axis] == (prompt.slice_index, prompt.slice_index + 1)
    inside = mask[box_slices(prompt.box)]
    assert inside.sum() == mask.take(prompt.slice_index, prompt.axis).sum() > 0
    for axis in set(range(3)) - {prompt.axis}:
        assert inside.take(0, axis).any()
        assert inside.take(-1, axis).any()


@given(MASKS)
def test_memory_layout_does_not_matter(mask):
    other = np.asfortranarray(mask)
    assert prompt_of("click", mask).point == prompt_of("click", other).point


def test_click_of_a_ball_is_its_centre():
    i, j, k = np.indices((21, 21, 11))
    mask = (i - 8) ** 2 + (j - 11) ** 2 + (2 * (k - 5)) ** 2 <= 36
    assert prompt_of("click", mask, (1, 1, 2)).point == (8, 11, 5)


def test_click_of_a_ring_lies_on_the_ring_and_ties_go_to_the_first():
    i, j = np.indices((21, 21))
    radius = np.hypot(i - 10, j - 10)
    mask = np.repeat(((radius >= 6) & (radius <= 8))[..., None], 3, axis=2)
    point = prompt_of("click", mask).point
    assert mask[point]
    assert point == (4, 10, 1)


def test_distance_to_the_centre_counts_millimetres_not_voxels():
    # A square frame: its centre is empty. Along i the frame is 3 voxels away, along j 2 voxels.
    frame = np.zeros((7, 5, 1), bool)
    frame[[0, -1]] = frame[:, [0, -1]] = True
    assert central_voxel(frame, np.array([1.0, 1.0, 1.0])) == (3, 0, 0)
    assert central_voxel(frame, np.array([1.0, 4.0, 1.0])) == (0, 2, 0)


def test_diagonal_neighbours_are_connected_and_the_larger_part_wins():
    mask = np.zeros((10, 10, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = mask[2, 2, 2] = True
    mask[6:8, 8, 0] = True
    component, corner = largest_component(mask)
    assert (component.sum(), corner) == (3, (0, 0, 0))
    assert prompt_of("click", mask).point == (1, 1, 1)


def test_equal_parts_first_in_c_order_wins():
    mask = np.zeros((6, 6, 6), bool)
    mask[4, 0, 0] = mask[0, 5, 3] = True
    assert prompt_of("click", mask).point == (0, 5, 3)


def test_box_holds_all_parts_but_the_middle_slice_is_the_largest_ones():
    mask = np.zeros((12, 12, 12), bool)
    mask[2:6, 2:6, 1:6] = True
    mask[8:10, 9, 3] = True
    mask[0, 0, 11] = True
    assert prompt_of("box", mask).box == ((0, 10), (0, 10), (1, 12))
    flat = prompt_of("box2d", mask)
    assert (flat.axis, flat.slice_index) == (2, 3)
    assert flat.box == ((2, 10), (2, 10), (3, 4))


def test_slice_axis_is_the_coarsest_then_the_most_superior_inferior():
    assert slice_axis(grid_of((5, 5, 5), (1, 3, 2))) == 1
    assert slice_axis(grid_of((5, 5, 5), (1, 1, 1))) == 2
    turned = np.eye(4)[[0, 2, 1, 3]] * np.array([1, 1.0001, 1, 1])  # the array's axis 1 points to the head
    assert slice_axis(Grid((5, 5, 5), turned)) == 1
    assert slice_axis(grid_of((5, 5, 5), (2, 2, 1))) == 1  # neither is SI: the last of the two


@pytest.mark.parametrize("kind", KINDS)
def test_empty_atlas_mask_gives_no_prompt(kind):
    assert prompt_of(kind, np.zeros((4, 5, 6), bool)) is None
    assert make_prompt(kind, np.full((4, 5, 6), 0.49, np.float32), grid_of((4, 5, 6)), 1) is None


@given(MASKS, SPACINGS)
def test_lasso_and_scribble_lie_on_the_slice_of_the_flat_box(mask, spacing):
    flat = prompt_of("box2d", mask, spacing)
    lasso, scribble = prompt_of("lasso", mask, spacing), prompt_of("scribble", mask, spacing)
    assert lasso.box == scribble.box == flat.box
    np.testing.assert_array_equal(lasso.drawn, mask[box_slices(flat.box)])
    assert scribble.drawn.any()
    assert not (scribble.drawn & ~lasso.drawn).any()


def test_scribble_is_the_middle_line_of_a_bar():
    mask = np.zeros((4, 20, 9), bool)
    mask[2, 2:18, 2:7] = True
    prompt = make_prompt("scribble", mask.astype(np.float32), grid_of(mask.shape, (3.0, 1.0, 1.0)), 1)
    assert prompt.axis == 0
    _, _, columns = np.nonzero(prompt.drawn)
    assert set(columns[3:-3] + prompt.box[2][0]) == {4}


@pytest.mark.parametrize("kind", KINDS)
def test_mask_and_rivals_are_always_there(kind):
    member = np.zeros((4, 5, 6))
    member[1, 2, 3] = 0.5
    prompt = make_prompt(kind, member, grid_of((4, 5, 6)), 9, rivals=np.full((4, 5, 6), 1.5))
    assert prompt.kind == kind
    assert prompt.value == 9
    assert prompt.mask.dtype == prompt.rivals.dtype == np.float32
    np.testing.assert_array_equal(prompt.mask, member)
    assert prompt.rivals.max() == 1.0
    assert not make_prompt(kind, member, grid_of((4, 5, 6)), 9).rivals.any()
    assert (prompt.point is not None) == (kind == "click")
    assert (prompt.box is not None) == (kind in ("box", "box2d", "scribble", "lasso"))
    assert (prompt.drawn is not None) == (kind in ("scribble", "lasso"))
    assert (prompt.slice_index is not None) == (kind not in ("mask", "box"))


def test_bad_input_is_named():
    member = np.ones((4, 5, 6), np.float32)
    with pytest.raises(InputError, match=r"scrawl.*mask, click"):
        make_prompt("scrawl", member, grid_of((4, 5, 6)), 1)
    with pytest.raises(InputError, match=r"M_atlas.*shape"):
        make_prompt("mask", member[1:], grid_of((4, 5, 6)), 1)
    with pytest.raises(InputError, match="NaN"):
        make_prompt("mask", member * np.nan, grid_of((4, 5, 6)), 1)
