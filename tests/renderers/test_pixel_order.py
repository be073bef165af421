"""How pixels are divided among threads must never show."""

from collections.abc import Iterator

import numba
import pytest
import torch
from render_helpers import KINDS, SMALL_GRID, drawer, random_volume, surround_rig, weighted_sum

from gsocc.renderers.pixel_order import pixel_order


@pytest.mark.parametrize("image_size", [(1, 1), (3, 50), (17, 9), (48, 80)])
def test_every_pixel_is_visited_once(image_size: tuple[int, int]) -> None:
    order = pixel_order(image_size)
    assert sorted(order.tolist()) == list(range(image_size[0] * image_size[1]))


def test_blocks_follow_each_other_down_the_image() -> None:
    """By hand for 16 rows, 16 columns: the first 64 are the upper left block, the next the one below it."""
    order = pixel_order((16, 16))
    assert set(order[:64].tolist()) == {row * 16 + column for row in range(8) for column in range(8)}
    assert set(order[64:128].tolist()) == {row * 16 + column for row in range(8, 16) for column in range(8)}


@pytest.fixture
def all_threads() -> Iterator[int]:
    most = numba.get_num_threads()
    yield most
    numba.set_num_threads(most)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "_cpu" in kind])
def test_the_number_of_threads_does_not_show(kind: str, all_threads: int) -> None:
    """Pictures are the same bit for bit; gradients are sums whose order may change, 1e-5."""
    results = []
    for threads in sorted({1, all_threads}):
        numba.set_num_threads(threads)
        density, features = (leaf.requires_grad_() for leaf in random_volume(3))
        out = drawer(kind)(SMALL_GRID, density, features, surround_rig())
        weighted_sum(out).backward()
        results.append((out, density.grad, features.grad))
    (one, *mine), (two, *theirs) = results[0], results[-1]
    torch.testing.assert_close(one.features, two.features, atol=0.0, rtol=0.0)
    torch.testing.assert_close(one.depth_m, two.depth_m, atol=0.0, rtol=0.0)
    for ours, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(ours, other, atol=1e-5 * other.abs().max().item(), rtol=1e-4)
