"""The operations of the deformable step: right by themselves, and the same in torch and compiled."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from atlassegfm.registration.grids import smooth
from atlassegfm.registration.operators import (
    CompiledOperators,
    TorchOperators,
    compose,
    inverse,
    lncc_and_gradient,
    operators,
)

COMPILED, TORCH = CompiledOperators(), TorchOperators()
#: More voxels than one thread gets, an odd number of planes, a single plane, planes thinner than a window.
SHAPES = [(31, 40, 37), (1, 9, 12), (6, 1, 11), (5, 7, 1), (2, 3, 2)]


def image(shape, seed=0, channels=None):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand((channels or 1, *shape), generator=generator)
    return smooth(x, 1.0) if channels else smooth(x, 1.0)[0]


def turned(shape):
    """A voxel map that turns, scales and shifts about the middle, so that a part looks beyond the border."""
    matrix = np.eye(4)
    matrix[:3, :3] = [[1.05, 0.1, -0.05], [-0.1, 0.93, 0.02], [0.03, 0.04, 1.1]]
    centre = (np.array(shape) - 1) / 2
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + [0.6, -0.7, 0.3]
    return matrix


@pytest.mark.parametrize("radius", [1, 2])
def test_gradient_of_lncc_is_that_of_finite_differences(radius):
    rng = np.random.default_rng(0)
    f, m = (torch.as_tensor(rng.uniform(size=(7, 6, 8))) for _ in range(2))
    mask = torch.ones_like(f)
    mask[:2, :, 5:] = 0.0
    _, slope = lncc_and_gradient(f, m, mask, radius, 1e-3)
    step = 1e-6
    for at in [(3, 3, 3), (0, 0, 0), (6, 5, 7), (2, 3, 5), (4, 1, 6), (1, 2, 4)]:
        up, down = m.clone(), m.clone()
        up[at] += step
        down[at] -= step
        values = [lncc_and_gradient(f, x, mask, radius, 1e-3)[0] * float(mask.sum()) for x in (up, down)]
        assert float(slope[at]) == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-7)


def test_lncc_knows_equal_inverted_and_unrelated_images():
    rng = np.random.default_rng(1)
    f, other = (torch.as_tensor(rng.uniform(size=(10, 10, 10))) for _ in range(2))
    mask = torch.ones_like(f)
    assert lncc_and_gradient(f, f, mask, 2, 1e-9)[0] == pytest.approx(1.0, abs=1e-4)
    assert lncc_and_gradient(f, 5 - 3 * f, mask, 2, 1e-9)[0] == pytest.approx(1.0, abs=1e-4)
    assert lncc_and_gradient(f, other, mask, 2, 1e-9)[0] < 0.1


def test_what_the_mask_hides_does_not_count():
    rng = np.random.default_rng(2)
    f, m = (torch.as_tensor(rng.uniform(size=(8, 8, 8))) for _ in range(2))
    mask = torch.zeros_like(f)
    mask[:, :, :4] = 1.0
    changed = m.clone()
    changed[:, :, 4:] = 99.0
    first, second = (lncc_and_gradient(f, x, mask, 2, 1e-3) for x in (m, changed))
    assert first[0] == pytest.approx(second[0], rel=1e-9)
    torch.testing.assert_close(first[1], second[1])
    assert (second[1][:, :, 4:] == 0).all()
    assert lncc_and_gradient(f, m, torch.zeros_like(f), 2, 1e-3)[0] == 0.0


@pytest.mark.parametrize("shape", SHAPES)
def test_warps_agree(shape):
    source, shift = image((9, 14, 11), channels=2), 3.0 * (image(shape, 1, 3) - 0.5)
    for ours, theirs in zip(
        COMPILED.warp(source, turned(shape), shift), TORCH.warp(source, turned(shape), shift), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("radius", [1, 2])
def test_forces_agree(shape, radius):
    f, m = image(shape), image(shape, 1)
    mask = (image(shape, 2) > 0.1).float()
    ours, theirs = COMPILED.force(f, m, mask, radius, 1e-3), TORCH.force(f, m, mask, radius, 1e-3)
    assert ours[0] == pytest.approx(theirs[0], rel=1e-4)
    torch.testing.assert_close(ours[1], theirs[1], atol=2e-3 * float(theirs[1].abs().max()), rtol=0)


@pytest.mark.parametrize("shape", SHAPES)
def test_edges_agree(shape):
    x = image(shape)
    torch.testing.assert_close(COMPILED.edges(x), TORCH.edges(x), atol=1e-6, rtol=0)


@pytest.mark.parametrize("ops", [COMPILED, TORCH])
def test_edges_are_as_steep_as_the_image(ops):
    i, j, k = torch.meshgrid(*(torch.arange(float(n)) for n in (5, 6, 7)), indexing="ij")
    torch.testing.assert_close(ops.edges(2 * i - 3 * j + 6 * k + 4), torch.full((5, 6, 7), 7.0))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("sigma", [0.0, 0.5, 2.0])
def test_smoothings_agree(shape, sigma):
    x = image(shape, channels=3)
    torch.testing.assert_close(COMPILED.smooth(x, sigma), TORCH.smooth(x, sigma), atol=1e-6, rtol=0)
    torch.testing.assert_close(COMPILED.smooth_inside(x, sigma), TORCH.smooth_inside(x, sigma), atol=2e-6, rtol=0)


@pytest.mark.parametrize("ops", [COMPILED, TORCH])
def test_a_warp_takes_values_from_where_the_map_says(ops):
    ramp = torch.arange(5.0)[:, None, None].expand(5, 4, 3)[None]
    shift = torch.zeros(3, 5, 4, 3)
    shift[0] = 0.75
    values, seen = ops.warp(ramp, np.eye(4), shift)
    np.testing.assert_allclose(values[0, :, 0, 0], [0.75, 1.75, 2.75, 3.75, 4.0])
    np.testing.assert_array_equal(seen[:, 0, 0], [1, 1, 1, 1, 0])


@pytest.mark.parametrize("ops", [COMPILED, TORCH])
def test_shifts_add_up_when_composed(ops):
    u, v = torch.full((3, 6, 6, 6), 0.5), torch.full((3, 6, 6, 6), -0.25)
    torch.testing.assert_close(compose(ops, u, v), torch.full((3, 6, 6, 6), 0.25))


@pytest.mark.parametrize("ops", [COMPILED, TORCH])
def test_a_displacement_and_its_inverse_cancel(ops):
    u = 4.0 * (smooth(image((20, 22, 24), 5, 3), 3.0) - 0.1)
    v, missed = inverse(ops, u)
    both = compose(ops, u, v)
    inner = (slice(None), *(slice(5, -5),) * 3)
    assert float(u[inner].abs().mean()) > 0.5
    assert float(both[inner].abs().max()) < 2e-4
    assert float(missed[inner[1:]].max()) < 2e-4


def test_an_inverse_that_does_not_exist_is_known_to_miss():
    u = torch.zeros(3, 12, 12, 12)
    u[0, 4:8] = torch.tensor([3.0, 1.0, -1.0, -3.0])[:, None, None]  # planes 4 to 7 change places
    assert float(inverse(COMPILED, u)[1].max()) > 0.5


def test_the_number_of_threads_changes_no_byte():
    f, m, mask = image((40, 40, 40)), image((40, 40, 40), 1), torch.ones(40, 40, 40)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            value, force = COMPILED.force(f, m, mask, 2, 1e-5)
            found.append((value, force.numpy().tobytes(), COMPILED.smooth(force, 2.0).numpy().tobytes()))
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_a_voxel_that_is_no_number_shows():
    f, m, mask = image((9, 9, 9)), image((9, 9, 9), 1), torch.ones(9, 9, 9)
    m[4, 4, 4] = float("nan")
    value, force = COMPILED.force(f, m, mask, 2, 1e-3)
    assert np.isnan(value)
    assert torch.isnan(force).any()


def test_the_device_decides():
    assert isinstance(operators(torch.device("cpu")), CompiledOperators)
    assert isinstance(operators(torch.device("cuda")), TorchOperators)


@pytest.mark.parametrize("ops", [COMPILED, TORCH])
def test_there_and_back_become_each_others_inverse(ops):
    generator = torch.Generator().manual_seed(3)
    there, back = (smooth(torch.randn((3, 16, 16, 16), generator=generator), 3.0) * 20 for _ in range(2))

    def missed(u, v):
        return float((u + ops.warp(v, np.eye(4), u)[0])[:, 4:-4, 4:-4, 4:-4].norm(dim=0).mean())

    u, v = ops.reconciled(there, back, 15), ops.reconciled(back, there, 15)
    assert missed(u, v) < 0.2 * missed(there, back)


@pytest.mark.parametrize("shape", SHAPES)
def test_steps_in_torch_and_compiled_are_alike(shape):
    u, force = 3.0 * image(shape, 1, channels=3), image(shape, 2, channels=3) - 0.5
    torch.testing.assert_close(
        COMPILED.step(u, force, 0.8, 2.0, 0.5), TORCH.step(u, force, 0.8, 2.0, 0.5), atol=1e-4, rtol=1e-4
    )


def test_the_longest_vector_is_found():
    v = torch.zeros(3, 4, 5, 6)
    v[:, 2, 1, 3] = torch.tensor([2.0, -3.0, 6.0])
    assert COMPILED.longest(v) == TORCH.longest(v) == 7.0
